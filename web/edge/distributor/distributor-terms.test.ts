import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import { loadSettings } from './distributor.ts'
import { GIFT_PATIENCE_MS } from './carried.ts'
import { DISK_RETRY_MS } from './disk-rest.ts'
import { fill, PIECE, until, world } from './test-distributor.ts'

beforeEach(() => void vi.useFakeTimers({ now: new Date('2026-11-20T12:00:00Z') }))
afterEach(() => void vi.useRealTimers())

describe('what a distributor spends and asks', () => {
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

  test('pays for a first copy in time also after the clock was set back', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make({ spendPerRelease: msat(50_000) })
    await at.start()
    await until(at, () => fakes.downloads.length === 1)
    vi.setSystemTime(Date.now() - 3_600_000)
    await vi.advanceTimersByTimeAsync(2 * GIFT_PATIENCE_MS)
    expect(fakes.downloads[1]?.deps.wallet).toBeDefined()
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
})
