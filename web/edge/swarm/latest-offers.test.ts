import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { LatestOffers, OFFER_MS, type OfferMessage } from './latest-offers.ts'
import type { Peer } from './peer.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

const peer = { id: 'w1' } as Peer
const other = { id: 'w2' } as Peer
const offer = (event: string): OfferMessage => ({ t: 'offer', event, gift: false })

function listening(): { offers: LatestOffers; read: string[] } {
  const read: string[] = []
  return { offers: new LatestOffers((from, { event }) => void read.push(`${from.id} ${event}`)), read }
}

test('of a flood the first is read at once and then the latest, one a rest; a peer does not wait for another', () => {
  const { offers, read } = listening()
  for (let n = 1; n <= 1000; n++) offers.heard(peer, offer(`${n}`))
  offers.heard(other, offer('own'))
  expect(read).toEqual(['w1 1', 'w2 own'])
  vi.advanceTimersByTime(OFFER_MS)
  expect(read).toEqual(['w1 1', 'w2 own', 'w1 1000'])
  offers.heard(peer, offer('soon'))
  expect(read).toHaveLength(3)
  vi.advanceTimersByTime(10 * OFFER_MS)
  expect(read.slice(3)).toEqual(['w1 soon'])
  offers.heard(peer, offer('later'))
  expect(read.slice(4)).toEqual(['w1 later'])
})

test('what waits is read when something depends on it, and not again', () => {
  const { offers, read } = listening()
  offers.heard(peer, offer('a'))
  offers.heard(peer, offer('b'))
  offers.readLatest(peer)
  offers.readLatest(peer)
  vi.advanceTimersByTime(10 * OFFER_MS)
  expect(read).toEqual(['w1 a', 'w1 b'])
})

test('of a peer that is gone nothing more is read', () => {
  const { offers, read } = listening()
  offers.heard(peer, offer('a'))
  offers.heard(peer, offer('b'))
  offers.gone(peer)
  vi.advanceTimersByTime(10 * OFFER_MS)
  expect(read).toEqual(['w1 a'])
  expect(vi.getTimerCount()).toBe(0)
})
