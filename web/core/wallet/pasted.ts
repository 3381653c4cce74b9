/** Tells what a person pasted or scanned where money is asked for, before anything is sent anywhere. */
import { publicKey } from '../nostr/event.ts'
import { parseConnection, type WalletConnection } from './connection.ts'

export type Pasted =
  | { tag: 'nothing' }
  | { tag: 'connection'; text: string; connection: WalletConnection; client: string }
  /** Begins like a connection, and is not whole. */
  | { tag: 'damaged-connection'; message: string }
  | { tag: 'invoice'; bolt11: string }
  | { tag: 'lightning-address'; address: string }
  | { tag: Foreign }
  | { tag: 'unknown' }

/** Kinds that are only told apart, to say so. */
export type Foreign =
  | 'lnurl'
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
  ['lnurl', /^lnurl1|^(keyauth|lnurlp|lnurlw|lnurlc):/],
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
  // A payment link of a shop on the web: the invoice inside is what counts.
  const inLink = /^bitcoin:.*[?&]lightning=(ln[a-z0-9]+)/.exec(lower)?.[1]
  if (inLink !== undefined && INVOICE.test(inLink)) return { tag: 'invoice', bolt11: inLink }
  const found = FOREIGN.find(([, pattern]) => pattern.test(bare))
  return { tag: found?.[0] ?? 'unknown' }
}
