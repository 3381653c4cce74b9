/** Offers as they come. Each costs a signature check: of a flood only the latest is read, a few times a second. */
import type { Message } from '../../core/exchange/message.ts'
import type { Peer } from './peer.ts'

export type OfferMessage = Extract<Message, { t: 'offer' }>

/** The least between two offers of one peer that are read. */
export const OFFER_MS = 200

type Resting = { latest: OfferMessage | undefined; readonly timer: ReturnType<typeof setTimeout> }

export class LatestOffers {
  readonly #read: (peer: Peer, offer: OfferMessage) => void
  readonly #resting = new Map<Peer, Resting>()

  constructor(read: (peer: Peer, offer: OfferMessage) => void) {
    this.#read = read
  }

  heard(peer: Peer, offer: OfferMessage): void {
    const resting = this.#resting.get(peer)
    if (resting !== undefined) {
      resting.latest = offer
      return
    }
    const timer = setTimeout(() => {
      const { latest } = this.#resting.get(peer) ?? {}
      this.#resting.delete(peer)
      if (latest !== undefined) this.heard(peer, latest)
    }, OFFER_MS)
    this.#resting.set(peer, { latest: undefined, timer })
    this.#read(peer, offer)
  }

  /** Reads at once what waits: something depends on it. */
  readLatest(peer: Peer): void {
    const resting = this.#resting.get(peer)
    const latest = resting?.latest
    if (resting === undefined || latest === undefined) return
    resting.latest = undefined
    this.#read(peer, latest)
  }

  gone(peer: Peer): void {
    clearTimeout(this.#resting.get(peer)?.timer)
    this.#resting.delete(peer)
  }

  stop(): void {
    for (const peer of [...this.#resting.keys()]) this.gone(peer)
  }
}
