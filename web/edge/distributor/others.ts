/** What other sellers ask for the releases carried here, as their OFFER events on the relays say. */
import type { InfoHash, PartyKey } from '../../core/bytes.ts'
import { readOffer } from '../../core/exchange/offer.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import { OFFER } from '../../core/nostr/kinds.ts'
import { MAX_FILTER_VALUES } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'

/** Sellers remembered per release; beyond it new ones are not counted. */
const SELLERS_HEARD = 200

type Heard = Readonly<{ price: Msat; money: Money; at: number; expiresAtMs: number }>

export interface OthersHeard {
  /** Listens for these releases from now on. */
  listen(infoHashes: readonly InfoHash[]): void
  /** Sellers of a release whose offer has not expired, and their prices in this money. */
  of(infoHash: InfoHash): readonly Readonly<{ seller: PartyKey; price: Msat }>[]
  stop(): void
}

export function hearOthers(
  deps: Readonly<{ pool: Pool; self: PartyKey; money: Money; nowMs: () => number; onChange: () => void }>,
): OthersHeard {
  const heard = new Map<InfoHash, Map<PartyKey, Heard>>()
  let listening = ''
  let unsubscribe = (): void => undefined
  return {
    listen(infoHashes) {
      const wanted = [...infoHashes].sort().slice(0, MAX_FILTER_VALUES)
      if (wanted.join() === listening) return
      listening = wanted.join()
      unsubscribe()
      for (const known of heard.keys()) if (!wanted.includes(known)) heard.delete(known)
      if (wanted.length === 0) {
        unsubscribe = () => undefined
        return
      }
      unsubscribe = deps.pool.subscribe([{ kinds: [OFFER], '#d': wanted }], (event) => {
        const infoHash = wanted.find((hash) => event.tags.some((tag) => tag[0] === 'd' && tag[1] === hash))
        const offer = infoHash && readOffer(event, infoHash)
        if (!infoHash || !offer || offer.seller === deps.self) return
        const sellers = heard.get(infoHash) ?? new Map<PartyKey, Heard>()
        const before = sellers.get(offer.seller)
        if (sellers.size >= SELLERS_HEARD)
          for (const [seller, { expiresAtMs }] of sellers)
            if (expiresAtMs <= deps.nowMs()) sellers.delete(seller)
        if ((before && before.at > event.created_at) || (!before && sellers.size >= SELLERS_HEARD)) return
        heard.set(infoHash, sellers)
        const { price, money, expiresAtS } = offer
        sellers.set(offer.seller, { price, money, at: event.created_at, expiresAtMs: expiresAtS * 1000 })
        deps.onChange()
      })
    },
    of(infoHash) {
      const now = deps.nowMs()
      return [...(heard.get(infoHash) ?? [])]
        .filter(([, offer]) => offer.expiresAtMs > now && offer.money === deps.money)
        .map(([seller, { price }]) => ({ seller, price }))
    },
    stop() {
      unsubscribe()
      listening = ''
      unsubscribe = () => undefined
    },
  }
}
