/** Devices that sell what they have proven, while they buy: the volunteers' small uplink is spent once. */
import { expect, test, vi } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { GRANT, PIECE, PRICE, sellPolicy } from './arena.ts'
import { inArena } from './in-arena.ts'

test('devices buy from each other where the seller’s uplink is small, and every sat is accounted for', () =>
  inArena(async (arena) => {
    const before = arena.money.total()
    const seller = await arena.seller({ uploadBps: 8 * PIECE })
    const devices = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const device = await arena.device()
        const shop = createShop({
          ...device,
          policy: { ...sellPolicy, price: msat(PRICE / 2) },
          nowMs: arena.nowMs,
        })
        arena.onClose(() => shop.stop())
        await shop.start()
        return { ...device, shop }
      }),
    )
    await Promise.all(devices.map(({ download }) => download.settled))
    const bought = devices.reduce((sum, { download }) => sum + download.get().paid, 0)
    const earned = () => [...devices, seller].reduce((sum, { shop }) => sum + shop.get().earned, 0)
    // Sellers hear of a payment after their buyers, and show it a moment later.
    await vi.waitFor(() => expect(earned()).toBe(bought), 10_000)
    let resold = 0
    for (const { download, shop, wallet } of devices) {
      const { paid, fees, boughtTwice } = download.get()
      const { earned, soldPieces } = shop.get()
      expect(boughtTwice).toBe(0)
      expect(await wallet.balance()).toBe(GRANT - paid - fees + earned)
      resold += soldPieces
    }
    for (const device of devices) expect(arena.intact(device)).toBe(true)
    expect(resold).toBeGreaterThan(0)
    expect(arena.money.total()).toBe(before + 4 * GRANT)
  }, 24))

test('a device that resells gives nothing away, to no role', () =>
  inArena(async (arena) => {
    const seller = await arena.seller()
    const device = await arena.device()
    await device.download.settled
    await seller.kill()
    const shop = createShop({ ...device, policy: sellPolicy, nowMs: arena.nowMs })
    arena.onClose(() => shop.stop())
    await shop.start()
    const next = await arena.device()
    await next.download.settled
    expect(next.download.get().sellers.map(({ seller: key }) => key)).toContain(device.identity.key)
    expect(next.download.get().windows.every(({ amountMsat }) => amountMsat > 0)).toBe(true)
    expect(shop.get().giftsLeft).toBe(0)
  }))
