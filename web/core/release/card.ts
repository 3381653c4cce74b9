/**
 * A signer's card: the public keys that a colleague or a build machine hands to the vendor, as one word that can be
 * mailed, `spkey1…`: bech32 of a bencoded {n: name, o: Nostr key, r: root key, t: targets key}. It holds no secret.
 */
import { bech32 } from '@scure/base'
import type { PartyKey } from '../bytes.ts'
import { fromHex, fromUtf8, isHex32, parsePartyKey, toHex, utf8 } from '../bytes.ts'
import { decode, encode } from '../exchange/bencode.ts'
import { ed25519Key, type PublicKeyObject } from './tuf.ts'

/** The two signing keys are Ed25519. */
export type Card = Readonly<{
  name: string
  nostr: PartyKey
  root: PublicKeyObject
  targets: PublicKeyObject
}>

const PREFIX = 'spkey'
const MAX_CHARS = 600
const MAX_NAME_BYTES = 80

/** @throws RangeError for keys that are not Ed25519: a caller's mistake. */
export function encodeCard(card: Card): string {
  const raw = (key: PublicKeyObject) => {
    if (key.keytype !== 'ed25519' || !isHex32(key.keyval.public)) throw new RangeError('not an Ed25519 key')
    return fromHex(key.keyval.public)
  }
  const value = { n: card.name, o: fromHex(card.nostr), r: raw(card.root), t: raw(card.targets) }
  return bech32.encode(PREFIX, bech32.toWords(encode(value)), false)
}

/** Reads what a person pasted. `undefined`: not a card, or one with a typo. Never throws. */
export function decodeCard(text: string): Card | undefined {
  const trimmed = text.trim()
  if (!/^spkey1/i.test(trimmed) || trimmed.length > MAX_CHARS) return undefined
  try {
    const { prefix, words } = bech32.decode(trimmed as `${string}1${string}`, false)
    const fields = decode(bech32.fromWords(words))
    if (prefix !== PREFIX || typeof fields !== 'object' || Array.isArray(fields)) return undefined
    const { n, o, r, t } = fields as Record<string, unknown>
    if (![n, o, r, t].every((field) => field instanceof Uint8Array)) return undefined
    const [name, other, root, targets] = [n, o, r, t] as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
    const nostr = parsePartyKey(toHex(other))
    if (!nostr || root.length !== 32 || targets.length !== 32 || name.length > MAX_NAME_BYTES)
      return undefined
    return { name: fromUtf8(name), nostr, root: ed25519Key(root), targets: ed25519Key(targets) }
  } catch {
    return undefined
  }
}

/** A short name that fits a card. */
export const cardName = (text: string): string => {
  let name = text.trim()
  while (utf8(name).length > MAX_NAME_BYTES) name = name.slice(0, -1)
  return name
}
