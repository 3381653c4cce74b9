/** Locks that are taken and kept: how many sats, how many at once, and how long they keep pieces from others. */
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { GRANT, ONE_PIECE, until } from './arena.ts'
import { finish, lockedDeals, lost } from './finish.ts'
import { hostileSeller } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

test('a seller that has settled and then keeps every lock has the risk budget locked at most', () =>
  inArena(async (arena) => {
    const riskBudget = msat(3 * ONE_PIECE)
    const hostile = await hostileSeller(arena, { honestFor: 1, holds: true })
    const device = await arena.device({ riskBudget, lockedTimeoutMs: 1000 })
    await until(device.download, ({ locked }) => locked > 0)
    const fromMs = arena.nowMs()
    await finish(arena, device)
    // The locks were waited for once; then everything came from the other.
    expect(arena.nowMs() - fromMs).toBeLessThan(15_000)
    const kept = (await lockedDeals(hostile)).reduce((sum, { signed }) => sum + signed.quote.amount, 0)
    expect(kept).toBeGreaterThan(0)
    expect(kept).toBeLessThanOrEqual(riskBudget)
    expect(await lost(hostile)).toBeLessThanOrEqual(riskBudget)
  }, 16))

test('no more payments are out at once than there are payment slots', () =>
  inArena(
    async (arena) => {
      const paymentSlots = 2
      const self = await arena.member('device', { full: false, balance: GRANT })
      await self.leave()
      let out = 0
      let most = 0
      const wallet: Wallet = {
        ...self.wallet,
        async pay(bolt11) {
          most = Math.max(most, ++out)
          const result = await self.wallet.pay(bolt11)
          out--
          return result
        },
      }
      const hostiles = await Promise.all(
        Array.from({ length: 4 }, () => hostileSeller(arena, { holds: true })),
      )
      const device = await arena.device({ paymentSlots, lockedTimeoutMs: 1000 }, { ...self, wallet })
      await until(device.download, ({ locked }) => locked > 0)
      await until(device.download, () => most === paymentSlots)
      for (const hostile of hostiles) await hostile.leave()
      // Locks that nobody settles fill the slots; they are free again when the wallet's limit is over.
      await finish(arena, device)
      expect(most).toBe(paymentSlots)
    },
    12,
    { holdLimitMs: 3000 },
  ))
