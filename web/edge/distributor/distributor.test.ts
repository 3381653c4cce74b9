import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Bytes } from '../../core/bytes.ts'
import { signOffer } from '../../core/exchange/offer.ts'
import type { Live } from '../../core/live.ts'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { Conditions, Distributor, DistributorSettings, DistributorSnapshot } from './api.ts'
import { createDistributor, defaultSettings, loadSettings } from './distributor.ts'
import {
  fakeConfig,
  fakeDisk,
  fakeFetch,
  fakeParts,
  fakePool,
  fakeVendor,
  party,
  RELAY,
  sign,
} from './fake-parts.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { DISK_RETRY_MS, GIFT_PATIENCE_MS } from './carried.ts'

const MONEY = 'sandbox:relay'
const PIECE = 16_384

beforeEach(() => void vi.useFakeTimers({ now: new Date('2026-11-20T12:00:00Z') }))
afterEach(() => void vi.useRealTimers())

function world() {
  const acme = fakeVendor(7, 'Acme')
  const other = fakeVendor(8, 'Other')
  const vendors = [acme, other]
  const listed = [acme, other]
  const journal = memoryJournal()
  const disk = fakeDisk()
  const pool = fakePool()
  const fakes = fakeParts(vendors)
  const bank = createFakeMoney({ money: MONEY })
  const wallet = bank.wallet('seller', msat(1_000_000))
  const make = (change: Partial<DistributorSettings> = {}, conditions?: Live<Conditions>): Distributor =>
    createDistributor({
      identity: party(1),
      relayUrl: RELAY,
      config: fakeConfig(MONEY, listed),
      pool,
      wallet,
      stores: { openStore: disk.openStore, journal },
      settings: { ...defaultSettings(MONEY), ...change },
      ...(conditions && { conditions }),
      nowMs: () => Date.now(),
      random: (length) => new Uint8Array(length) as Bytes,
      fetch: fakeFetch(() => fakeConfig(MONEY, vendors), vendors),
      parts: fakes.parts,
    })
  return { acme, other, listed, journal, disk, pool, fakes, bank, wallet, make }
}

/** Runs timers until the distributor shows it. */
async function until(
  at: Distributor,
  holds: (now: DistributorSnapshot) => boolean,
): Promise<DistributorSnapshot> {
  for (let step = 0; step < 100; step++) {
    await vi.advanceTimersByTimeAsync(100)
    if (holds(at.get())) return at.get()
  }
  throw new Error(`not reached: ${JSON.stringify(at.get(), undefined, 1)}`)
}
const fill = async (
  store: { have: Uint8Array; write(piece: number, bytes: Uint8Array): Promise<void> },
  n: number,
) => {
  for (let piece = 0; piece < n; piece++) await store.write(piece, new Uint8Array(PIECE))
}

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

  test('hopes for a free copy first, and pays only when none came and its owner allows', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make({ spendPerRelease: msat(50_000) })
    await at.start()
    await until(at, () => fakes.downloads.length === 1)
    expect(fakes.downloads[0]!.deps.wallet).toBeUndefined()
    await fill(fakes.sessions[0]!.store, 1)
    await vi.advanceTimersByTimeAsync(GIFT_PATIENCE_MS + 200) // a piece came: patience begins anew
    expect(fakes.downloads).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(GIFT_PATIENCE_MS)
    expect(fakes.downloads).toHaveLength(2)
    expect(fakes.downloads[0]!.running).toBe(false)
    expect(fakes.downloads[1]!.deps).toMatchObject({ policy: { budget: 50_000, priceCap: 2_000 } })
    expect(fakes.downloads[1]!.deps.wallet).toBeDefined()
    await at.stop()
  })

  test('a download that a full disk stopped is made anew when there is space, at growing distances', async () => {
    const { acme, disk, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, () => fakes.downloads.length === 1)
    const { store } = fakes.sessions[0]!
    disk.fill(new Error('The disk is full.'))
    await expect(store.write(0, new Uint8Array(PIECE))).rejects.toThrow('full')
    const shown = await until(at, (now) => now.carrying[0]?.state.tag === 'trouble')
    expect(shown.carrying[0]!.state).toMatchObject({
      text: 'The disk is full. It is tried again in 30 seconds.',
    })
    await at.updateSettings({ price: msat(300) })
    expect(fakes.downloads).toHaveLength(1) // a change of terms is no reason to try
    await vi.advanceTimersByTimeAsync(DISK_RETRY_MS.first)
    expect(fakes.downloads.map((download) => download.running)).toEqual([false, true])
    await expect(store.write(0, new Uint8Array(PIECE))).rejects.toThrow('full')
    await vi.advanceTimersByTimeAsync(2 * DISK_RETRY_MS.first - 1_000)
    expect(fakes.downloads).toHaveLength(2)
    disk.fill()
    await until(at, (now) => now.carrying[0]?.state.tag === 'looking' && fakes.downloads.length === 3)
    await fill(store, 4)
    await until(at, (now) => now.carrying[0]?.state.tag === 'seeding')
    await at.stop()
  })

  test('a shop that the disk kept from starting is made anew', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    fakes.breakShops(new Error('The disk is full.'))
    const at = make()
    await at.start()
    await until(at, (now) => now.carrying[0]?.state.tag === 'trouble')
    fakes.breakShops()
    await vi.advanceTimersByTimeAsync(DISK_RETRY_MS.first)
    expect(fakes.shops.at(-1)?.running).toBe(true)
    await until(at, (now) => now.carrying[0]?.state.tag === 'looking')
    await at.stop()
    expect(fakes.shops.map((shop) => shop.running)).toEqual(fakes.shops.map(() => false))
  })

  test('spends nothing where its owner allowed nothing', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make({ spendPerRelease: msat(0) })
    await at.start()
    await vi.advanceTimersByTimeAsync(10 * GIFT_PATIENCE_MS)
    expect(fakes.downloads.map((download) => download.deps.wallet)).toEqual([undefined])
    await at.stop()
  })

  test('asks its price, but never more than the release allows; a change reaches the shop', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make({ price: msat(9_000) })
    await at.start()
    await until(at, () => fakes.shops.length === 1)
    expect(fakes.shops[0]!.policy.price).toBe(2_000)
    await at.updateSettings({ price: msat(300), uploadBps: 1_000 })
    await until(at, () => fakes.shops[0]!.policy.price === 300)
    expect(fakes.shops[0]!.policy.uploadBps).toBe(1_000)
    await at.stop()
  })

  test('its terms outlive a restart', async () => {
    const { journal, make } = world()
    expect(await loadSettings(journal)).toBeUndefined()
    const at = make()
    await at.updateSettings({ price: msat(42), vendors: [], uploadBps: 5, downloadBps: 6 })
    expect(await loadSettings(journal)).toMatchObject({
      price: 42,
      vendors: [],
      uploadBps: 5,
      downloadBps: 6,
    })
    await at.updateSettings({ uploadBps: undefined } as object)
    expect(await loadSettings(journal)).not.toHaveProperty('uploadBps')
    expect(await loadSettings(journal)).toHaveProperty('downloadBps', 6)
  })

  test('joins and fetches before there is a wallet, and sells as soon as there is one', async () => {
    const { acme, fakes, wallet, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    at.setWallet(undefined)
    await at.start()
    await until(at, () => fakes.downloads.length === 1)
    expect(fakes.shops).toHaveLength(0)
    at.setWallet(wallet)
    await until(at, () => fakes.shops[0]?.running === true)
    const shown = await until(at, (now) => now.wallet?.balance === 1_000_000)
    expect(shown.troubles).toEqual([])
    await at.stop()
  })

  test('says that nobody here can pay a wallet of other money', async () => {
    const { make } = world()
    const at = make()
    at.setWallet(createFakeMoney({ money: 'regtest:x' }).wallet('a', msat(0)))
    const shown = await until(at, (now) => now.troubles.length > 0)
    expect(shown.troubles[0]).toMatch(
      /holds test sats; devices here pay in play sats\. Nobody here can pay you/,
    )
  })

  test('says once that the relay is away, not again for the wallet that lives there', async () => {
    const { acme, pool, wallet, make } = world()
    acme.sign([acme.release('os', '1')])
    const status = liveCell<{ connected: boolean; trouble?: string }>({
      connected: false,
      trouble: 'No connection.',
    })
    const at = make()
    at.setWallet({ ...wallet, status })
    await at.start()
    await until(at, (now) => now.troubles.includes('No connection.')) // the relay is there: only the wallet is not
    pool.connect(false)
    await until(at, (now) => !now.relay.connected && now.troubles.length === 0)
    expect(at.get().wallet?.trouble).toBe('No connection.')
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
