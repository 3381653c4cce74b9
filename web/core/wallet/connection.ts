/** Nostr Wallet Connect URIs (NIP-47 "Nostr Wallet Connect URI"). They hold a secret: never log one. */
import { fromHex, parsePartyKey, type PartyKey } from '../bytes.ts'
import type { SecretKey } from '../nostr/event.ts'
import { isSecret } from './point.ts'

export type WalletConnection = Readonly<{
  wallet: PartyKey
  relays: readonly string[]
  secret: SecretKey
  /** The wallet's Lightning address, if it names one. */
  lud16?: string
}>

export type ParsedConnection = { ok: true; connection: WalletConnection } | { ok: false; message: string }

const MAX_LENGTH = 4096
const MAX_RELAYS = 8
/** What a refusal repeats of what was pasted: too little to hold a secret that is in the wrong place. */
const MAX_QUOTED = 20
const SCHEME = /^nostr\+?walletconnect:(\/\/)?/i
const ASK = 'Copy the whole connection from your wallet; it starts with nostr+walletconnect://.'

/** Reads a connection as pasted by a person; a refusal says what is wrong and what to paste. */
export function parseConnection(pasted: string): ParsedConnection {
  const text = pasted.trim()
  const refuse = (message: string): ParsedConnection => ({ ok: false, message })
  if (text === '') return refuse(`Nothing was pasted. ${ASK}`)
  if (text.length > MAX_LENGTH) return refuse(`This is too long for a wallet connection. ${ASK}`)
  if (!SCHEME.test(text)) return refuse(`${whatElse(text)} ${ASK}`)
  const [head = '', query = ''] = splitOnce(text.replace(SCHEME, ''), '?')
  const walletKey = head.replace(/\/$/, '').toLowerCase()
  const wallet = parsePartyKey(walletKey)
  if (!wallet) return refuse(keyTrouble("The wallet's key", walletKey))
  const params = new URLSearchParams(query)
  const relays = [...new Set(params.getAll('relay').map((relay) => relay.trim()))]
  if (relays.length === 0) return refuse(`The connection names no relay (relay=wss://…). ${ASK}`)
  if (relays.length > MAX_RELAYS) return refuse(`The connection names more than ${MAX_RELAYS} relays.`)
  const bad = relays.find((relay) => !isRelay(relay))
  if (bad !== undefined) return refuse(`"${quoted(bad)}" is not the address of a relay (wss://… or ws://…).`)
  const secretText = (params.get('secret') ?? '').toLowerCase()
  if (secretText === '')
    return refuse(`The connection has no secret: it would only name the wallet, not open it. ${ASK}`)
  if (!parsePartyKey(secretText)) return refuse(keyTrouble("The connection's secret", secretText))
  const secret = fromHex(secretText)
  if (!isSecret(secret)) return refuse(`The connection's secret is none: no wallet has made it. ${ASK}`)
  const lud16 = params.get('lud16')
  const connection = { wallet, relays, secret, ...(lud16 && { lud16 }) }
  return { ok: true, connection }
}

/** The URI of a connection; it contains the secret. */
export function composeConnection({
  wallet,
  relays,
  secret,
  lud16,
}: {
  wallet: string
  relays: readonly string[]
  /** 64 hex digits. */
  secret: string
  lud16?: string
}): string {
  const params = relays.map((relay) => `relay=${encodeURIComponent(relay)}`)
  params.push(`secret=${secret}`)
  if (lud16) params.push(`lud16=${encodeURIComponent(lud16)}`)
  return `nostr+walletconnect://${wallet}?${params.join('&')}`
}

function whatElse(text: string): string {
  const lower = text.toLowerCase()
  if (/^(lightning:)?ln(bc|tb|tbs|bcrt)[0-9]*[munp]?1/.test(lower))
    return 'This is an invoice: it asks for a payment and cannot make one.'
  if (/^(lightning:)?lnurl1|^(keyauth|lnurlp|lnurlw|lnurlc):/.test(lower))
    return 'This is an LNURL, which does not open a wallet.'
  if (lower.startsWith('bunker://')) return 'This is a remote signer (NIP-46), not a wallet.'
  if (lower.startsWith('nostr+walletauth'))
    return 'This asks a wallet for a connection; it is not a connection itself.'
  if (/^(nsec1|npub1|nprofile1|nostr:)/.test(lower)) return 'This is a Nostr key, not a wallet connection.'
  if (/^(bitcoin:|bc1|tb1|bcrt1|[13][1-9a-hj-np-z]{25,34}$)/.test(lower)) return 'This is a Bitcoin address.'
  if (/^[^\s@:/]+@[^\s@/]+\.[^\s@/]+$/.test(lower))
    return 'This is a Lightning address: it can only receive, and not through a connection.'
  const scheme = /^[a-z][a-z0-9+.-]*(?=:)/.exec(lower)?.[0] ?? ''
  if (scheme !== '' && scheme.length <= MAX_QUOTED)
    return `A wallet connection does not start with "${scheme}:".`
  return 'This is not a wallet connection.'
}

function keyTrouble(what: string, found: string): string {
  if (found === '') return `${what} is missing. ${ASK}`
  if (!/^[0-9a-f]*$/.test(found)) return `${what} contains characters other than 0-9 and a-f. ${ASK}`
  return `${what} has ${found.length} characters instead of 64. ${ASK}`
}

/** The beginning of an address; of what is none, less. */
const quoted = (text: string): string => text.slice(0, /^[a-z]{2,6}:\/\//i.test(text) ? 60 : MAX_QUOTED)

function isRelay(relay: string): boolean {
  try {
    const url = new URL(relay)
    return (url.protocol === 'wss:' || url.protocol === 'ws:') && url.hostname !== ''
  } catch {
    return false
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}
