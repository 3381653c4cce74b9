/**
 * Takers on a slow line, and takers that read nothing more: over real WebRTC, whose packets go through links of ours
 * (`e2e/bench/shaper`). The seller meets them at another tracker than the others, which have no such link.
 */
import { expect, test } from 'vitest'
import { openTrackerProxy } from '../bench/shaper/tracker-proxy.ts'
import { Uplink } from '../bench/shaper/uplink.ts'
import { PIECE, until, type Arena, type Seller } from './arena.ts'
import { whole } from './finish.ts'
import { hostileBuyer } from './hostile-buyer.ts'
import { inArena } from './in-arena.ts'

const KIB = 1024
const SLOW_BPS = 32 * KIB
/** What keeps a connection alive is smaller, ciphertext is larger. */
const SMALL_PACKET = 300
const LIMIT_MS = 240_000

/** What the seller sends there: slowly, freely, or nothing but what keeps the connection. */
class Line extends Uplink {
  state: 'slow' | 'free' | 'dead' = 'slow'
  readonly #slow = new Uplink({ name: 'slow', bytesPerS: SLOW_BPS })

  constructor() {
    super({ name: 'line' })
  }

  override packet(bytes: number, send: () => void): boolean {
    if (this.state === 'slow') return this.#slow.packet(bytes, send)
    if (this.state === 'dead' && bytes > SMALL_PACKET) return false
    return super.packet(bytes, send)
  }
}

/** A seller at two trackers: at the arena's own, and behind `line`, where `there` meets it. */
async function twoSided(
  arena: Arena,
  line: Line,
  policy: Parameters<Arena['seller']>[0] = {},
): Promise<{ seller: Seller; there: (name: string) => readonly string[] }> {
  const beside = await arena.beside()
  arena.onClose(() => beside.close())
  const proxy = await openTrackerProxy(beside.tracker, [line, new Uplink({ name: 'takers' })])
  arena.onClose(() => proxy.close())
  const seller = await arena.seller(policy, undefined, [
    arena.trackerOf('seller'),
    `${proxy.urlOf(0)}/seller`,
  ])
  return { seller, there: (name) => [`${proxy.urlOf(1)}/${name}`] }
}

const sending = (seller: Seller, count: number): Promise<unknown> =>
  until(seller.shop, ({ sales }) => sales.filter(({ state }) => state === 'sending').length >= count)

test(
  'a taker on a slow line is sold to as well, window by window, and keeps nobody else waiting',
  { timeout: LIMIT_MS },
  () =>
    inArena(async (arena) => {
      const line = new Line()
      const { seller, there } = await twoSided(arena, line)
      const slow = await arena.device({}, undefined, there('slow'))
      await sending(seller, 1)
      const quick = await arena.device()
      await whole(arena, quick)
      expect(slow.download.get().have).toBeLessThan(arena.meta.pieces)
      // A piece comes through in its time, and its quote is still good then.
      await until(slow.download, ({ have }) => have > 0)
      line.state = 'free'
      await whole(arena, slow)
      for (const { download } of [slow, quick])
        expect(download.get().sellers.map(({ dropped }) => dropped)).toEqual([undefined])
      const paid = slow.download.get().paid + quick.download.get().paid
      await until(seller.shop, ({ earned }) => earned === paid)
      expect(await seller.wallet.balance()).toBe(paid)
      expect(seller.shop.get().sales.every(({ state }) => state === 'paid')).toBe(true)
    }, 8),
)

test(
  'takers that read nothing have the line for ten seconds at most, and then no wire',
  { timeout: LIMIT_MS },
  () =>
    inArena(async (arena) => {
      const line = new Line()
      line.state = 'free'
      const { seller, there } = await twoSided(arena, line, { unprovenBytes: 64 * PIECE })
      const all = Array.from({ length: arena.meta.pieces }, (_, piece) => piece)
      const takers = await Promise.all(
        ['a', 'b', 'c'].map((name) => hostileBuyer(arena, { trackers: there(name) })),
      )
      const wires = await Promise.all(takers.map((taker) => taker.wireTo(seller.identity.key)))
      line.state = 'dead'
      takers.forEach((taker, i) => wires[i] && taker.ask(wires[i], all))
      await sending(seller, takers.length)
      const device = await arena.device()
      // It has asked; the line is taken.
      await until(seller.shop, ({ sales }) => sales.some(({ buyer }) => buyer === device.identity.key))
      arena.skip(10_000)
      await whole(arena, device)
      expect(takers.map((taker) => taker.taken())).toEqual([0, 0, 0])
      expect(device.download.get().sellers.map(({ dropped }) => dropped)).toEqual([undefined])
      // In real time: a minute without anything read ends each wire, and nothing is left but what the keys owe.
      await until(seller.session.peers, ({ provenKeys }) =>
        takers.every(({ identity }) => !provenKeys.includes(identity.key)),
      )
      await until(seller.shop, ({ unpaidBytes }) => unpaidBytes === 0)
      expect(await seller.wallet.balance()).toBe(device.download.get().paid)
    }, 16),
)
