import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { signOffer } from '../../core/exchange/offer.ts'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import type { Conditions } from './api.ts'
import { party, sign } from './fake-parts.ts'
import { fill, MONEY, PIECE, until, world } from './test-distributor.ts'

beforeEach(() => void vi.useFakeTimers({ now: new Date('2026-11-20T12:00:00Z') }))
afterEach(() => void vi.useRealTimers())

describe('a distributor', () => {
  test('fetches what the vendor signed and sells from the first piece on', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    const shown = await until(at, (now) => now.carrying.length === 1 && fakes.downloads.length === 1)
    expect(shown.carrying).toMatchObject([{ name: 'os 1', vendorName: 'Acme', standing: 'current', have: 0 }])
    expect(fakes.shops[0]).toMatchObject({ running: true, policy: { price: 1_000 } })
    await fill(fakes.sessions[0]!.store, 4)
    fakes.downloads[0]!.cell.set({ ...fakes.downloads[0]!.cell.get(), state: { tag: 'complete' } })
    await until(at, (now) => now.carrying[0]?.state.tag === 'seeding')
    expect(at.get().disk.usedBytes).toBe(4 * PIECE)
    await at.stop()
  })

  test('a paid window is counted once, shows who paid, and outlives a restart', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const first = make()
    await first.start()
    await until(first, () => fakes.shops.length === 1)
    fakes.shops[0]!.sell({ id: 'w1', state: 'waiting' })
    await until(first, (now) => now.buyers === 1)
    expect(first.get().earnings.today).toBe(0)
    fakes.shops[0]!.sell({ id: 'w1', state: 'paid' })
    fakes.shops[0]!.sell({ id: 'w2', state: 'given', amount: msat(0) })
    const shown = await until(first, (now) => now.earnings.today === 1_500)
    expect(shown.justPaid).toMatchObject([{ id: 'w1', amount: 1_500, buyer: party(90).key }])
    expect(shown.earnings).toMatchObject({ piecesToday: 2, uploadedToday: 4 * PIECE })
    expect(shown.carrying[0]!.today).toBe(1_500)
    await first.stop()

    const second = make()
    await second.start()
    await until(second, () => fakes.shops.length === 2)
    fakes.shops[1]!.sell({ id: 'w1', state: 'paid' }) // the shop's journal shows it again
    fakes.shops[1]!.sell({ id: 'w3', state: 'paid' })
    await until(second, (now) => now.earnings.today === 3_000)
    await second.stop()
  })

  test('sees through after a restart what it owes for a copy that is whole', async () => {
    const { acme, fakes, make, journal } = world()
    const release = acme.release('os', '1')
    acme.sign([release])
    const first = make()
    await first.start()
    await until(first, (now) => now.carrying.length === 1 && fakes.downloads.length === 1)
    await fill(fakes.sessions[0]!.store, 4)
    await until(first, (now) => now.carrying[0]?.state.tag === 'seeding')
    await first.stop()

    const second = make()
    await second.start()
    await until(second, () => fakes.shops.length === 2)
    await vi.advanceTimersByTimeAsync(1000)
    expect(fakes.downloads).toHaveLength(1) // nothing is owed
    await second.stop()

    await journal.put(`buy/${release.infoHash}/${'a'.repeat(64)}`, new Uint8Array([0, 0, 0, 2, 123, 125]))
    const third = make()
    await third.start()
    await until(third, () => fakes.downloads.length === 2)
    expect(fakes.downloads[1]!.deps.wallet).toBeDefined()
    await third.stop()
  })

  test('hears a new release at once, from the vendor only', async () => {
    const { acme, fakes, pool, make } = world()
    const at = make()
    await at.start()
    await until(at, (now) => now.vendors.every((row) => row.checkedAt !== undefined))
    const asked = fakes.reads.length
    const release = acme.release('os', '1')
    acme.sign([release])
    pool.say(acme.announce(release, party(66)))
    await vi.advanceTimersByTimeAsync(500)
    expect(fakes.reads.length).toBe(asked) // a stranger's word asks nobody
    pool.say(acme.announce(release))
    await until(at, (now) => now.carrying.length === 1)
    expect(fakes.sessions[0]!.floor()).toContain(acme.identity.key)
    await at.stop()
  })

  test('a peer that shows a newer floor makes it look at the mirror', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, () => fakes.sessions.length === 1)
    const next = acme.release('agent', '1')
    acme.sign([...acme.metadata.releases, next])
    fakes.sessions[0]!.hear(JSON.stringify(acme.announce(next)))
    await until(at, (now) => now.carrying.length === 2)
    await at.stop()
  })

  test('a vendor that the relay admitted later is followed when its first release is announced', async () => {
    const { acme, other, listed, pool, make } = world()
    listed.splice(0, listed.length, other)
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, (now) => now.vendors.length === 1)
    pool.say(acme.announce(acme.metadata.releases[0]!))
    await until(at, (now) => now.carrying.length === 1)
    await at.stop()
  })

  test('follows only the chosen vendors, and lets go of what is not followed any more', async () => {
    const { acme, other, disk, make } = world()
    acme.sign([acme.release('os', '1')])
    other.sign([other.release('fw', '1')])
    const at = make({ vendors: [acme.vendor] })
    await at.start()
    await until(at, (now) => now.carrying[0]?.name === 'os 1')
    await at.updateSettings({ vendors: [other.vendor] })
    const shown = await until(at, (now) => now.carrying[0]?.name === 'fw 1')
    expect(shown.evicted).toMatchObject([{ name: 'os 1', reason: 'unfollowed' }])
    expect(disk.open.filter((store) => store.state === 'destroyed').map((store) => store.meta.name)).toEqual([
      'os-1.bin',
    ])
    await at.updateSettings({ vendors: 'all' })
    const back = await until(at, (now) => now.carrying.length === 2)
    expect(back.evicted).toEqual([]) // it is here again
    await at.stop()
  })

  test('at the disk limit a withdrawn release makes room for a new one, and that is shown', async () => {
    const { acme, make } = world()
    const [old, fresh] = [acme.release('os', '1'), acme.release('agent', '1')]
    acme.sign([old])
    const at = make({ diskLimitBytes: 4 * PIECE })
    await at.start()
    await until(at, (now) => now.carrying.length === 1)
    acme.sign([])
    await at.refresh()
    await until(at, (now) => now.carrying[0]?.standing === 'withdrawn')
    acme.sign([fresh])
    await at.refresh()
    const shown = await until(at, (now) => now.carrying[0]?.name === 'agent 1')
    expect(shown.evicted).toMatchObject([{ name: 'os 1', reason: 'withdrawn', bytes: 4 * PIECE }])
    await at.stop()
  })

  test('a release larger than the limit is not carried and says so', async () => {
    const { acme, make } = world()
    acme.sign([acme.release('os', '1', 5)])
    const at = make({ diskLimitBytes: 4 * PIECE })
    await at.start()
    const shown = await until(at, (now) => now.troubles.length > 0)
    expect(shown).toMatchObject({
      carrying: [],
      troubles: [expect.stringContaining('os 1 is larger than your disk')],
    })
    await at.updateSettings({ diskLimitBytes: 5 * PIECE })
    await until(at, (now) => now.carrying.length === 1 && now.troubles.length === 0)
    await at.stop()
  })

  test('pauses when asked to on a metered connection, leaves the swarm, and goes on after it', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const conditions = liveCell<Conditions>({ metered: true, lowBattery: true })
    const at = make({ pauseOn: { metered: false, lowBattery: false } }, conditions)
    await at.start()
    await until(at, (now) => now.mode.tag === 'on' && fakes.shops.length === 1)
    await at.updateSettings({ pauseOn: { metered: true, lowBattery: false } })
    const shown = await until(at, (now) => now.mode.tag === 'paused' && now.carrying[0]?.state.tag === 'held')
    expect(shown.mode).toMatchObject({ why: 'metered' })
    expect(fakes.sessions.map((session) => session.joined)).toEqual([false])
    conditions.set({ metered: false, lowBattery: true })
    await until(at, (now) => now.mode.tag === 'on' && fakes.sessions.length === 2)
    expect(fakes.sessions[1]!.joined).toBe(true)
    await at.stop()
  })

  test('restarts from what is on disk while the mirror does not answer', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const first = make()
    await first.start()
    await until(first, () => fakes.sessions.length === 1)
    await fill(fakes.sessions[0]!.store, 3)
    await first.stop()
    fakes.breakMirror(new Error('No mirror could be used.'))
    const second = make()
    await until(second, (now) => now.carrying[0]?.have === 3) // known before it is switched on
    expect(second.get().carrying[0]!.state.tag).toBe('held')
    await second.start()
    const shown = await until(second, () => fakes.shops.length === 2)
    expect(shown.carrying).toMatchObject([{ name: 'os 1', standing: 'current', have: 3 }])
    await until(second, (now) => now.vendors[0]?.trouble !== undefined)
    fakes.breakMirror(undefined)
    await until(second, (now) => now.vendors.every((row) => row.trouble === undefined))
    await second.stop()
  })

  test('counts other sellers and their prices in the same money only, and itself not', async () => {
    const { acme, pool, make } = world()
    const release = acme.release('os', '1')
    acme.sign([release])
    const at = make()
    await at.start()
    await until(at, (now) => now.carrying.length === 1)
    const offer = (n: number, price: number, money: 'bitcoin' | typeof MONEY = MONEY, seconds = 60) => {
      const nowS = Math.floor(Date.now() / 1000)
      const { infoHash } = release
      const terms = { infoHash, money, price: msat(price), modes: ['atomic'] as const, maxWindowBytes: PIECE }
      return signOffer({ ...terms, expiresAtS: nowS + seconds }, party(n).secret, new Uint8Array(32), nowS)
    }
    for (const event of [offer(20, 900), offer(21, 700), offer(22, 100, 'bitcoin'), offer(1, 5)])
      pool.say(event)
    const shown = await until(at, (now) => now.otherPrices.length === 2)
    expect(shown.otherPrices).toEqual([700, 900])
    expect(shown.carrying[0]!.otherSellers).toBe(2)
    await vi.advanceTimersByTimeAsync(70_000)
    expect(at.get().otherPrices).toEqual([]) // expired
    await at.stop()
  })

  test('publishes its offers', async () => {
    const { acme, fakes, pool, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, () => fakes.shops.length === 1)
    const event = sign({ kind: 31890, created_at: 1, tags: [], content: '' }, party(1).secret)
    fakes.shops[0]!.deps.publishOffer!(JSON.stringify(event))
    fakes.shops[0]!.deps.publishOffer!(JSON.stringify({ ...event, content: 'forged' }))
    expect(pool.published).toEqual([event])
    await at.stop()
  })
})
