/** Keys cost nothing: what many fresh ones can take together, one after the other and all at once. */
import { expect, test } from 'vitest'
import { msat } from '../../web/core/money/msat.ts'
import { droppedFor, GRANT, ONE_PIECE, PIECE, PRICE, until } from './arena.ts'
import { finish, lostTo, whole } from './finish.ts'
import { hostileBuyer } from './hostile-buyer.ts'
import { hostileSeller, type HostileSeller, type Script } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

const cheat: Script = { plain: (bytes) => void bytes.set([7, 7, 7], 0) }

test('a seller with a new key after each cheat takes the unproven budget in all, one piece a key', () =>
  inArena(async (arena) => {
    const unprovenBudget = msat(2 * PRICE * (PIECE / 2 ** 20) + 500)
    const approved = await arena.member('friend', { full: true })
    await approved.leave()
    const device = await arena.device({ unprovenBudget, approved: [approved.identity.key] })
    const cheats: HostileSeller[] = []
    for (let n = 0; n < 4; n++) {
      const one = await hostileSeller(arena, cheat)
      cheats.push(one)
      await until(
        device.download,
        (snapshot) =>
          droppedFor(one.identity.key)(snapshot) ||
          (snapshot.state.tag === 'waiting' && snapshot.state.why === 'payment'),
      )
      expect(await one.wallet.balance()).toBeLessThanOrEqual(ONE_PIECE)
      await one.leave()
    }
    expect(await lostTo(cheats)).toBeGreaterThan(ONE_PIECE / 2)
    expect(await lostTo(cheats)).toBeLessThanOrEqual(unprovenBudget)
    // The budget is spent, and stays so: a fresh honest key sells nothing, one that the vendor approved sells it all.
    await arena.seller({}, approved)
    await whole(arena, device)
    expect(await lostTo(cheats)).toBeLessThanOrEqual(unprovenBudget)
  }))

test('the budget for unproven keys outlives a restart', () =>
  inArena(async (arena) => {
    const unprovenBudget = msat(PRICE * (PIECE / 2 ** 20))
    const self = await arena.member('device', { full: false, balance: GRANT })
    await self.leave()
    const first = await hostileSeller(arena, cheat)
    const device = await arena.device({ unprovenBudget }, self)
    await until(device.download, droppedFor(first.identity.key))
    await first.leave()
    await device.kill()
    const again = await arena.device({ unprovenBudget }, self)
    const second = await hostileSeller(arena, cheat)
    await until(again.download, ({ state }) => state.tag === 'waiting' && state.why === 'payment')
    expect(await lostTo([first])).toBeGreaterThan(0)
    expect(await lostTo([second])).toBe(0)
  }))

test('convicted after honest sales, a seller is a stranger again under its next key: one piece at stake', () =>
  inArena(async (arena) => {
    const first = await hostileSeller(arena, { ...cheat, honestFor: 1 })
    const device = await arena.device({ lockedTimeoutMs: 1000, unprovenBudget: msat(50_000) })
    await until(device.download, droppedFor(first.identity.key))
    await first.leave()
    // The next key takes the locks and keeps them, so that all it can get at once is seen.
    const second = await hostileSeller(arena, { holds: true })
    let most = 0
    device.download.subscribe(({ locked }) => (most = Math.max(most, locked)))
    await until(device.download, ({ locked }) => locked > 0)
    await finish(arena, device)
    expect(most).toBeLessThanOrEqual(ONE_PIECE)
    expect(await lostTo([second])).toBe(0)
  }, 12))

test('four fresh keys at once, one of them over three wires, share the bytes for unproven keys', () =>
  inArena(async (arena) => {
    const unprovenBytes = 4 * PIECE
    const seller = await arena.seller({ unprovenBytes })
    const thieves = await Promise.all(Array.from({ length: 4 }, () => hostileBuyer(arena)))
    const [one] = thieves
    if (one === undefined) throw new Error('no thief')
    const twins = await Promise.all([hostileBuyer(arena, { as: one }), hostileBuyer(arena, { as: one })])
    const all = [...thieves, ...twins]
    await Promise.all(
      all.map(async (thief) => {
        const peer = await thief.wireTo(seller.identity.key)
        for (;;) {
          const got = await thief.take(peer, [0])
          if (got.tag === 'refused') return
        }
      }),
    )
    let taken = 0
    for (const thief of all) taken += thief.taken()
    expect(taken).toBeGreaterThan(0)
    expect(taken).toBeLessThanOrEqual(unprovenBytes)
    expect(seller.shop.get().unpaidBytes).toBeLessThanOrEqual(unprovenBytes)
  }))
