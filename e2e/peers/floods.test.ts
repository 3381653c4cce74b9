/** Peers that reserve, cancel, flood, lie about what they have, or drip: what it costs the other side, and for how long. */
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { REFUSED_BYTES } from '../../web/core/swarm/buyer-tick.ts'
import { MAX_CANCELS_PER_S, MAX_OPEN_PER_PEER } from '../../web/core/exchange/desk-limits.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { ONE_PIECE, PIECE, PRICE, until, type Arena, type Device } from './arena.ts'
import { finish, lost, whole } from './finish.ts'
import { hostileBuyer } from './hostile-buyer.ts'
import { hostileSeller } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

/** Moves the clock by `stepMs` at each look at the download, until `over`; gives the milliseconds that went by. */
async function fastForward(
  arena: Arena,
  device: Device,
  stepMs: number,
  over: Parameters<typeof until<ReturnType<Device['download']['get']>>>[1],
): Promise<number> {
  const fromMs = arena.nowMs()
  await until(device.download, (snapshot) => {
    if (over(snapshot)) return true
    arena.skip(stepMs)
    return false
  })
  return arena.nowMs() - fromMs
}

test('reservations that nobody pays hold bytes for two and a half minutes, then the places are free', () =>
  inArena(async (arena) => {
    const friend = await arena.member('friend', { full: false, balance: msat(1_000_000) })
    await friend.leave()
    const seller = await arena.seller({ approved: [friend.identity.key], unprovenBytes: 12 * PIECE })
    const thief = await hostileBuyer(arena)
    const peer = await thief.wireTo(seller.identity.key)
    await Promise.all(Array.from({ length: MAX_OPEN_PER_PEER }, (_, piece) => thief.take(peer, [piece])))
    expect(await thief.take(peer, [0])).toMatchObject({ tag: 'refused', code: 'busy' })
    expect(thief.taken()).toBe(MAX_OPEN_PER_PEER * PIECE)
    // Nobody else waits for that: another buys meanwhile.
    const device = await arena.device({}, friend)
    await whole(arena, device)
    arena.skip(151_000)
    await until(seller.shop, ({ unpaidBytes }) => unpaidBytes === 0)
    expect(await thief.take(peer, [0])).toMatchObject({ tag: 'refused', code: 'barred' })
  }, 10))

test('a storm of requests and cancels costs the seller sixteen invoices a second at most, and others nothing', () =>
  inArena(async (arena) => {
    const shop = await arena.member('shop', { full: true })
    await shop.leave()
    let invoices = 0
    const wallet: Wallet = {
      ...shop.wallet,
      makeInvoice: (request) => {
        invoices++
        return shop.wallet.makeInvoice(request)
      },
    }
    const seller = await arena.seller({}, { ...shop, wallet })
    const thief = await hostileBuyer(arena)
    const peer = await thief.wireTo(seller.identity.key)
    const fromMs = performance.now()
    const storm = 400
    for (let n = 0; n < storm; n++) peer.send({ t: 'cancel', id: thief.ask(peer, [0]) })
    // Frames keep their order: with the last one answered, all have been heard.
    while (thief.refusals().length < storm - 10 * MAX_CANCELS_PER_S)
      await new Promise((done) => setTimeout(done, 20))
    const seconds = Math.ceil((performance.now() - fromMs) / 1000)
    expect(invoices).toBeLessThanOrEqual((seconds + 1) * MAX_CANCELS_PER_S)
    const device = await arena.device()
    expect(await whole(arena, device)).toBeLessThan(15_000)
    expect(thief.taken()).toBeLessThanOrEqual((seconds + 1) * MAX_CANCELS_PER_S * PIECE)
  }))

test('frames for windows that were never asked for change nothing, and end the wire in the end', () =>
  inArena(async (arena) => {
    const hostile = await hostileSeller(arena, { noQuote: true, stopAfter: 0 })
    const device = await arena.device()
    await hostile.acted
    const peer = [...hostile.session.proven()].find(({ key }) => key === device.identity.key)
    if (peer === undefined) throw new Error('no wire')
    const bytes = new Uint8Array(65_536)
    peer.send({ t: 'quote', id: 77, quote: new Uint8Array(100), sig: new Uint8Array(64) })
    peer.send({ t: 'leaves', id: 77, leaves: new Uint8Array(32) })
    peer.send({ t: 'refuse', id: 77, code: 'closed' })
    for (let n = 0; n < 1200 && !peer.gone; n++) {
      peer.send({ t: 'data', id: 77, at: 0, bytes })
      await peer.drained()
    }
    const drops = await until(device.drops, (list) => list.length > 0)
    expect(drops[0]).toMatch(/nobody asked for/)
    await finish(arena, device)
    expect(await lost(hostile)).toBe(0)
  }))

test('a flood of offers is read now and then, the last one counts, and buying goes on meanwhile', () =>
  inArena(async (arena) => {
    const flood = await hostileSeller(arena, { price: msat(2 * PRICE) })
    const device = await arena.device()
    const peer = await new Promise<ReturnType<typeof flood.session.proven>[number]>((found) => {
      const look = () => {
        const one = flood.session.proven().find(({ key }) => key === device.identity.key)
        if (one === undefined) setTimeout(look, 10)
        else found(one)
      }
      look()
    })
    const fromMs = performance.now()
    for (let n = 0; n < 300; n++) flood.offer(peer, msat(PRICE + 1 + n), false)
    flood.offer(peer, PRICE, false)
    await finish(arena, device)
    expect(performance.now() - fromMs).toBeLessThan(15_000)
    for (const row of device.download.get().windows)
      expect(row.amountMsat).toBeLessThanOrEqual(Math.ceil((row.bytes * 2 * PRICE) / 2 ** 20))
  }))

test.each(['missing', 'closed', 'busy', 'unpaid', 'barred'] as const)(
  'a seller that says it has everything and refuses all of it (%s): asked again at most once a second, the rest comes from another',
  (code) =>
    inArena(async (arena) => {
      const liar = await hostileSeller(arena, { refuses: code })
      const device = await arena.device()
      await liar.acted
      const fromMs = performance.now()
      expect(await finish(arena, device)).toBeLessThan(15_000)
      const seconds = Math.ceil((performance.now() - fromMs) / 1000)
      expect(liar.requests()).toBeLessThanOrEqual(arena.meta.pieces * (1 + seconds))
      expect(await lost(liar)).toBe(0)
    }),
)

test.each([
  ['a giver', { gift: true }],
  ['one that has sold a piece', { honestFor: 1 }],
])(
  'a seller that refuses once all has come, again and again (%s), rests after sixteen MiB and three times what is under way',
  (_, script) =>
    inArena(async (arena) => {
      const tease = await hostileSeller(arena, { ...script, refusesAfter: 'busy' })
      const device = await arena.device()
      await tease.acted
      const taken = tease.sentBytes
      await fastForward(arena, device, 100, ({ state }) => state.tag === 'looking' && taken() > REFUSED_BYTES)
      expect(taken()).toBeLessThanOrEqual(REFUSED_BYTES + 3 * arena.content.length)
      const requests = tease.requests()
      arena.skip(9 * 60_000)
      expect(await finish(arena, device)).toBeLessThan(15_000)
      expect(tease.requests()).toBe(requests)
      expect(await lost(tease)).toBeLessThanOrEqual(ONE_PIECE)
    }, 24),
)

test('a seller that falls silent keeps its pieces from others for fifteen seconds', () =>
  inArena(async (arena) => {
    const silent = await hostileSeller(arena, { stopAfter: 0 })
    const device = await arena.device()
    await silent.acted
    await arena.seller()
    const tookMs = await fastForward(arena, device, 1000, ({ state }) => state.tag === 'complete')
    expect(arena.intact(device)).toBe(true)
    expect(tookMs).toBeLessThan(30_000)
    expect(await lost(silent)).toBe(0)
  }))

test('a seller that sends all but the quote keeps its pieces from others for fifteen seconds', () =>
  inArena(async (arena) => {
    const mute = await hostileSeller(arena, { noQuote: true })
    const device = await arena.device()
    await mute.acted
    await arena.seller()
    const tookMs = await fastForward(arena, device, 1000, ({ state }) => state.tag === 'complete')
    expect(tookMs).toBeLessThan(30_000)
    expect(await lost(mute)).toBe(0)
  }))

test('a seller that drips is given up after a minute and its share of 64 KiB/s, and nothing is paid for the wait', () =>
  inArena(async (arena) => {
    // A block every ten seconds: never silent for fifteen.
    const drip = await hostileSeller(arena, {
      frame: 16_384,
      pause: async () => {
        arena.skip(10_000)
        await new Promise((done) => setTimeout(done, 100))
      },
    })
    const device = await arena.device()
    const fromMs = arena.nowMs()
    await until(device.download, () => drip.requests() > 0)
    await arena.seller()
    await device.download.complete
    expect(arena.nowMs() - fromMs).toBeLessThan(150_000)
    expect(await lost(drip)).toBe(0)
    expect(device.download.get().boughtTwice).toBe(0)
  }))
