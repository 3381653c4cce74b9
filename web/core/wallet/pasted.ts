/** Tells what a person pasted or scanned where money is asked for, before anything is sent anywhere. */
import { bech32 } from '@scure/base'
import { publicKey } from '../nostr/event.ts'
import { parseConnection, type WalletConnection } from './connection.ts'

export type Pasted =
  | { tag: 'nothing' }
  | { tag: 'connection'; text: string; connection: WalletConnection; client: string }
  /** Begins like a connection, and is not whole. */
  | { tag: 'damaged-connection'; message: string }
  | { tag: 'invoice'; bolt11: string }
  | { tag: 'lightning-address'; address: string }
  /** LUD-01 or LUD-17; what it is for is known when it has been asked. */
  | { tag: 'lnurl'; url: string }
  | { tag: Foreign }
  | { tag: 'unknown' }

/** Kinds that are only told apart, to say so. */
export type Foreign =
  | 'lnurl-other'
  | 'bolt12'
  | 'ecash'
  | 'lndhub'
  | 'node'
  | 'relay'
  | 'recovery-words'
  | 'secret-key'
  | 'public-key'
  | 'join-code'
  | 'store-code'
  | 'key-backup'
  | 'wallet-auth'
  | 'signer'
  | 'bitcoin-address'
  | 'web-page'

/** Longer texts are not looked at. */
export const MAX_PASTED_CHARS = 20_000

const INVOICE = /^ln(bcrt|tbs|bc|tb)[0-9]*[munp]?1[a-z0-9]+$/
const ADDRESS = /^[a-z0-9._+-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$/

const FOREIGN: readonly (readonly [Foreign, RegExp])[] = [
  ['lnurl-other', /^lnurl1|^(keyauth|lnurlp|lnurlw|lnurlc):/],
  ['bolt12', /^(lno|lnr|lni)1[a-z0-9+]/],
  ['ecash', /^(cashu:)?(cashu[ab]|creqa)[a-z0-9_-]|^fed1[a-z0-9]|^fedimint:/],
  ['lndhub', /^(lndhub|bluewallet):/],
  ['node', /^(lndconnect|clnrest|clnconnect|c-lightning-rest|lnlink):|^[0-9a-f]{66}@/],
  ['relay', /^wss?:/],
  // Five lengths of BIP 39; words of a sentence are rarely so many and so plain.
  ['recovery-words', /^([a-z]{3,8}\s+){11}([a-z]{3,8}\s+){0,12}[a-z]{3,8}$/],
  ['secret-key', /^(nostr:)?(nsec1|ncryptsec1)/],
  ['public-key', /^(nostr:)?(npub1|nprofile1)|^nostr:/],
  ['join-code', /^spjoin1/],
  ['store-code', /^spstore1|\/shop#store=spstore1/],
  ['key-backup', /^\{\s*"format":\s*"satpatch vendor keys"/],
  ['wallet-auth', /^nostr\+walletauth/],
  ['signer', /^(bunker|nostrconnect):/],
  ['bitcoin-address', /^(bitcoin:|bc1|tb1|bcrt1)|^[13][1-9a-hj-np-z]{25,34}$/],
  ['web-page', /^https?:/],
]

export function recognise(pasted: string): Pasted {
  const text = pasted.trim()
  if (text === '') return { tag: 'nothing' }
  if (text.length > MAX_PASTED_CHARS) return { tag: 'unknown' }
  const lower = text.toLowerCase()
  if (/^nostr\+?walletconnect:/.test(lower)) {
    const parsed = parseConnection(text)
    if (!parsed.ok) return { tag: 'damaged-connection', message: parsed.message }
    const { connection } = parsed
    return { tag: 'connection', text, connection, client: publicKey(connection.secret) }
  }
  const bare = lower.replace(/^lightning:(\/\/)?/, '')
  if (INVOICE.test(bare)) return { tag: 'invoice', bolt11: bare }
  if (ADDRESS.test(bare)) return { tag: 'lightning-address', address: bare }
  const url = lnurlOf(text.replace(/^lightning:(\/\/)?/i, ''))
  if (url !== undefined) return { tag: 'lnurl', url }
  // A payment link of a shop on the web: the invoice inside is what counts.
  const inLink = /^bitcoin:.*[?&]lightning=(ln[a-z0-9]+)/.exec(lower)?.[1]
  if (inLink !== undefined && INVOICE.test(inLink)) return { tag: 'invoice', bolt11: inLink }
  const found = FOREIGN.find(([, pattern]) => pattern.test(bare))
  return { tag: found?.[0] ?? 'unknown' }
}

const MAX_LNURL_CHARS = 2000

/** The address behind `lnurl1…` (LUD-01) or `lnurlp://` (LUD-17), if it is reached over https. */
function lnurlOf(text: string): string | undefined {
  if (/^lnurlp:/i.test(text)) return httpsOf(text.replace(/^lnurlp:(\/\/)?/i, 'https://'))
  if (!/^lnurl1/i.test(text)) return undefined
  const read = bech32.decodeUnsafe(text.toLowerCase(), MAX_LNURL_CHARS)
  const bytes = read && bech32.fromWordsUnsafe(read.words)
  return bytes ? httpsOf(String.fromCharCode(...bytes)) : undefined
}

function httpsOf(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined
  const url = new URL(text)
  return url.protocol === 'https:' ? url.href : undefined
}
