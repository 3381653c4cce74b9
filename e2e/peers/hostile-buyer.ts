/** A buyer on real wires that does by hand what a `Download` does by rule: asks, takes, pays or does not. */
import { concat, type Bytes, type PartyKey, type Sha256Hex } from '../../web/core/bytes.ts'
import type { Message, RefusalCode } from '../../web/core/exchange/message.ts'
import { openQuote, windowBytes, type SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import type { Peer } from '../../web/edge/swarm/peer.ts'
import type { Arena, Member, Self } from './arena.ts'

export type Taken = Readonly<{
  tag: 'taken'
  request: number
  leaves: Bytes
  ciphertext: Bytes
  signed: SignedQuote
}>
export type Refused = Readonly<{ tag: 'refused'; request: number; code: RefusalCode }>

export type HostileBuyer = Member & {
  /** The wire to the seller of this key; the first seller that shows an offer without one. */
  wireTo(seller?: PartyKey): Promise<Peer>
  /** One window; resolves when quote or refusal is here. */
  take(peer: Peer, pieces: readonly number[]): Promise<Taken | Refused>
  /** Sends a request and waits for nothing; gives its id. */
  ask(peer: Peer, pieces: readonly number[]): number
  /** The secret of a quote, once the seller sends it. */
  keyOf(quote: Sha256Hex): Promise<Bytes>
  /** Secrets that came, by quote. */
  readonly keys: ReadonlyMap<Sha256Hex, Bytes>
  /** Ciphertext that came, bytes. */
  taken(): number
  refusals(): readonly RefusalCode[]
  leave(): Promise<void>
}

type Open = { leaves?: Bytes; parts: Bytes[]; signed?: SignedQuote; end: (with_: Taken | Refused) => void }

export async function hostileBuyer(
  arena: Arena,
  options: {
    as?: Self
    balance?: Msat
    role?: 'device' | 'distributor'
    trackers?: readonly string[]
  } = {},
): Promise<HostileBuyer> {
  const member = await arena.member('hostile buyer', { full: false, ...options })
  const open = new Map<number, Open>()
  const keys = new Map<Sha256Hex, Bytes>()
  const waitingKeys = new Map<Sha256Hex, (secret: Bytes) => void>()
  const sellers: Peer[] = []
  const waitingSellers: { key: PartyKey | undefined; found: (peer: Peer) => void }[] = []
  const refusals: RefusalCode[] = []
  let taken = 0
  let serial = 0

  const met = (peer: Peer): void => {
    if (!sellers.includes(peer)) sellers.push(peer)
    for (const one of waitingSellers.splice(0)) {
      if (one.key === undefined || one.key === peer.key) one.found(peer)
      else waitingSellers.push(one)
    }
  }
  /** The quote comes on the wire, the ciphertext beside it: either may be the last. */
  const whole = (request: number): void => {
    const window = open.get(request)
    if (window?.signed === undefined) return
    const { leaves = new Uint8Array(), parts, signed } = window
    const ciphertext = concat(...parts)
    if (ciphertext.length < windowBytes(arena.meta, signed.quote.pieces)) return
    open.delete(request)
    window.end({ tag: 'taken', request, leaves, ciphertext, signed })
  }
  const onMessage = (peer: Peer, message: Message): void => {
    switch (message.t) {
      case 'offer':
        return met(peer)
      case 'leaves': {
        const window = open.get(message.id)
        if (window !== undefined) window.leaves = message.leaves
        return
      }
      case 'data': {
        taken += message.bytes.length
        open.get(message.id)?.parts.push(message.bytes.slice() as Bytes)
        return whole(message.id)
      }
      case 'quote': {
        const window = open.get(message.id)
        const signed = openQuote(message.quote, message.sig)
        if (window === undefined || signed === undefined) return
        window.signed = signed
        return whole(message.id)
      }
      case 'refuse': {
        refusals.push(message.code)
        const window = open.get(message.id)
        open.delete(message.id)
        return window?.end({ tag: 'refused', request: message.id, code: message.code })
      }
      case 'key':
        keys.set(message.quote, message.secret)
        return waitingKeys.get(message.quote)?.(message.secret)
      default:
        return
    }
  }
  member.session.attach({ message: onMessage })

  const ask = (peer: Peer, pieces: readonly number[]): number => {
    peer.send({ t: 'request', id: ++serial, pieces })
    return serial
  }
  return {
    ...member,
    keys,
    wireTo(key) {
      const known = sellers.find((peer) => !peer.gone && (key === undefined || peer.key === key))
      return known !== undefined
        ? Promise.resolve(known)
        : new Promise((found) => waitingSellers.push({ key, found }))
    },
    ask,
    take: (peer, pieces) =>
      new Promise((end) => {
        open.set(serial + 1, { parts: [], end })
        ask(peer, pieces)
      }),
    keyOf(quote) {
      const known = keys.get(quote)
      return known !== undefined
        ? Promise.resolve(known)
        : new Promise((done) => waitingKeys.set(quote, done))
    },
    taken: () => taken,
    refusals: () => refusals,
  }
}
