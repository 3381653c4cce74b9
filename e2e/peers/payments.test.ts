/** Payments that are held, late, doubled, parted or unanswered: what is at stake, for how long, and what comes back. */
import { expect, test } from 'vitest'
import { toHex } from '../../web/core/bytes.ts'
import { msat, type Msat } from '../../web/core/money/msat.ts'
import type { PayResult, Transaction, Wallet, WalletEvent } from '../../web/edge/wallet/wallet.ts'
import { GRANT, ONE_PIECE, until, type Device } from './arena.ts'
import { accounted, finish, lockedDeals, lost, lostTo, whole } from './finish.ts'
import { hostileBuyer, type Taken } from './hostile-buyer.ts'
import { hostileSeller, type Deal, type HostileSeller } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

/** The most that was locked at any time. */
function mostLocked(device: Device): () => number {
  let most = 0
  device.download.subscribe(({ locked }) => (most = Math.max(most, locked)))
  return () => most
}

test('four sellers that take the lock and keep it lock the unproven budget at most, and give all of it back', () =>
  inArena(
    async (arena) => {
      const unprovenBudget = msat(ONE_PIECE + 500)
      const hostiles = await Promise.all(
        Array.from({ length: 4 }, () => hostileSeller(arena, { holds: true })),
      )
      const approved = await arena.member('friend', { full: true })
      await approved.leave()
      const device = await arena.device({
        unprovenBudget,
        lockedTimeoutMs: 1000,
        approved: [approved.identity.key],
      })
      const most = mostLocked(device)
      // Nobody else is asked when the budget is locked.
      await until(device.download, ({ state }) => state.tag === 'waiting' && state.why === 'payment')
      expect(most()).toBeGreaterThan(0)
      expect(most()).toBeLessThanOrEqual(unprovenBudget)
      for (const hostile of hostiles) await hostile.leave()
      await arena.seller({}, approved)
      await whole(arena, device)
      // The wallet gives up on what nobody settles: every sat is back.
      await until(device.download, ({ locked }) => locked === 0)
      expect(await lostTo(hostiles)).toBe(0)
      await accounted(device)
    },
    5,
    { holdLimitMs: 2000 },
  ))

/** A purse whose payments arrive, unanswered; `open` lets them be seen. */
function unanswering(purse: Wallet): {
  wallet: Wallet
  paid: Promise<void>
  open(): void
  asked: readonly string[]
} {
  let seen = false
  const asked: string[] = []
  let done: () => void = () => undefined
  const paid = new Promise<void>((resolve) => (done = resolve))
  const wallet: Wallet = {
    ...purse,
    pay: async (bolt11): Promise<PayResult> => {
      asked.push(bolt11)
      await purse.pay(bolt11)
      done()
      return { tag: 'unknown', message: 'no answer' }
    },
    lookUp: async (hash): Promise<Transaction | undefined> => {
      const found = await purse.lookUp(hash)
      if (found === undefined || seen || found.state !== 'settled') return found
      const { preimage, ...rest } = found
      expect(preimage).toBeDefined()
      return { ...rest, state: 'pending' }
    },
    onEvent: () => () => undefined,
    onConnection: () => () => undefined,
  }
  return { wallet, paid, open: () => (seen = true), asked }
}

test('a wallet that does not answer is asked again, not paid again; what settles late counts apart', () =>
  inArena(async (arena) => {
    // Settled in truth, but neither wallet nor seller says so: as bad as a lock.
    const mute = await hostileSeller(arena, {})
    const self = await arena.member('device', { full: false, balance: GRANT })
    await self.leave()
    const { wallet, paid, open, asked } = unanswering(self.wallet)
    let hostileOnly = true
    const switching: Wallet = {
      ...wallet,
      pay: (bolt11) => (hostileOnly ? wallet.pay(bolt11) : self.wallet.pay(bolt11)),
    }
    const device = await arena.device({ lockedTimeoutMs: 1000 }, { ...self, wallet: switching })
    await paid
    hostileOnly = false
    expect(await lost(mute)).toBeLessThanOrEqual(ONE_PIECE)
    await finish(arena, device)
    const late = new Promise<Msat>((done) => device.download.onLate((_, row) => done(row.amountMsat as Msat)))
    open()
    arena.skip(60_000) // the next look-up is due
    expect(await late).toBe(await lost(mute))
    const { boughtTwice, windows } = await until(device.download, ({ locked }) => locked === 0)
    expect(boughtTwice).toBe(0)
    expect(windows.filter((row) => row.late)).toHaveLength(1)
    expect(asked).toHaveLength(1)
    await accounted(device)
  }))

/** What the wallet takes for a payment. */
const FEE = msat(7)

/** Tells everything twice. */
const stuttering = (wallet: Wallet): Wallet => ({
  ...wallet,
  onEvent: (run) =>
    wallet.onEvent((event) => {
      run(event)
      run(event)
    }),
})

test('a payment that both wallets tell twice, and that comes as key, answer and look-up, counts once', () =>
  inArena(async (arena) => {
    const shop = await arena.member('shop', { full: true })
    const purse = await arena.member('purse', { full: false, balance: GRANT })
    await shop.leave()
    await purse.leave()
    const seller = await arena.seller({}, { ...shop, wallet: stuttering(shop.wallet) })
    let taken = 0
    const slow: Wallet = {
      ...stuttering(purse.wallet),
      balance: async () => msat((await purse.wallet.balance()) - taken),
      // The seller's key is there before the wallet's answer.
      pay: async (bolt11) => {
        const result = await purse.wallet.pay(bolt11)
        await new Promise((done) => setTimeout(done, 50))
        if (result.tag !== 'paid') return result
        taken += FEE
        return { ...result, fees: FEE }
      },
    }
    const device = await arena.device({}, { ...purse, wallet: slow })
    await whole(arena, device)
    // The fee is named last, and counts all the same.
    const { paid, windows } = await until(
      device.download,
      ({ fees, windows }) =>
        fees > 0 && fees === windows.length * FEE && windows.every((row) => row.feesMsat === FEE),
    )
    expect(windows.length).toBeGreaterThan(0)
    const { earned, soldPieces } = await until(
      seller.shop,
      ({ soldPieces }) => soldPieces >= arena.meta.pieces,
    )
    expect(earned).toBe(paid)
    expect(soldPieces).toBe(arena.meta.pieces)
    expect(await seller.wallet.balance()).toBe(paid)
    await accounted(device)
  }))

/** A wallet that tells of parts: half an invoice is in, and by its own rules that is not settled. */
function parting(
  wallet: Wallet,
  holds: boolean,
): { wallet: Wallet; tell(hash: string, amount: Msat): void; settled: () => number } {
  const listeners = new Set<(event: WalletEvent) => void>()
  let settled = 0
  const part = (hash: string, amount: Msat): Transaction => ({
    direction: 'in',
    state: 'accepted',
    paymentHash: hash as Transaction['paymentHash'],
    amount,
    fees: msat(0),
    createdAtMs: 0,
  })
  const told = new Map<string, Transaction>()
  return {
    settled: () => settled,
    wallet: {
      ...wallet,
      info: async () => {
        const info = await wallet.info()
        const features = new Set([...info.features].filter((one) => !holds || one !== 'preimage-invoices'))
        return { ...info, features }
      },
      lookUp: (hash) => {
        const known = told.get(hash)
        return known === undefined ? wallet.lookUp(hash) : Promise.resolve(known)
      },
      settleHoldInvoice: (preimage) => {
        settled++
        return wallet.settleHoldInvoice(preimage)
      },
      onEvent: (run) => {
        listeners.add(run)
        return () => listeners.delete(run)
      },
    },
    tell(hash, amount) {
      const transaction = part(hash, amount)
      told.set(hash, transaction)
      for (const run of listeners) {
        run({ tag: 'hold-accepted', transaction, settleByMs: Number.MAX_SAFE_INTEGER })
        run({ tag: 'received', transaction })
      }
    },
  }
}

test.each([true, false])(
  'half a payment opens nothing (hold invoices: %s): neither key nor settlement, whatever the wallet tells',
  (holds) =>
    inArena(async (arena) => {
      const shop = await arena.member('shop', { full: true })
      await shop.leave()
      const { wallet, tell, settled } = parting(shop.wallet, holds)
      const seller = await arena.seller({}, { ...shop, wallet })
      const buyer = await hostileBuyer(arena)
      const peer = await buyer.wireTo()
      const { signed } = (await buyer.take(peer, [0])) as Taken
      tell(signed.quote.paymentHash, msat(signed.quote.amount / 2))
      // The wire keeps its order: when the next window's quote is here, a key would be too.
      await buyer.take(peer, [1])
      await buyer.take(peer, [2])
      expect(buyer.keys.size).toBe(0)
      expect(settled()).toBe(0)
      expect(seller.shop.get().earned).toBe(0)
    }),
)

test('a hold that is locked and settled only after its quote has lapsed still gives the key, once', () =>
  inArena(async (arena) => {
    const hostile = await hostileSeller(arena, { holds: true })
    const held = new Promise<void>((done) =>
      hostile.wallet.onEvent(({ tag }) => tag === 'hold-accepted' && done()),
    )
    const device = await arena.device({ lockedTimeoutMs: 600_000 })
    await held
    arena.skip(200_000)
    const [deal] = await lockedDeals(hostile)
    await hostile.settle(deal as Deal)
    const { have, paid } = await until(device.download, (snapshot) => snapshot.have > 0)
    expect(have).toBe(1)
    expect(paid).toBe(await lost(hostile))
    expect(device.download.receipts().map(({ preimage }) => preimage)).toEqual([toHex((deal as Deal).secret)])
  }))

/** A wallet that can hold, and that nobody reaches until `open`. */
function unreached(purse: Wallet): { wallet: Wallet; open(): void } {
  let open = false
  const gone = (): Promise<never> => Promise.reject(new Error('not reached'))
  return {
    open: () => (open = true),
    wallet: {
      ...purse,
      info: async () => {
        const info = await purse.info()
        return { ...info, features: new Set([...info.features].filter((one) => one !== 'preimage-invoices')) }
      },
      lookUp: (hash) => (open ? purse.lookUp(hash) : gone()),
      settleHoldInvoice: (preimage) => (open ? purse.settleHoldInvoice(preimage) : gone()),
      cancelHoldInvoice: (hash) => (open ? purse.cancelHoldInvoice(hash) : gone()),
      onEvent: () => () => undefined,
    },
  }
}

test('an honest seller whose wallet is gone until the quote has lapsed settles the lock all the same, once', () =>
  inArena(async (arena) => {
    const shop = await arena.member('shop', { full: true })
    await shop.leave()
    const locked = new Promise<void>((done) =>
      shop.wallet.onEvent(({ tag }) => tag === 'hold-accepted' && done()),
    )
    const { wallet, open } = unreached(shop.wallet)
    const seller = await arena.seller({}, { ...shop, wallet })
    const device = await arena.device({ lockedTimeoutMs: 600_000 })
    await locked
    arena.skip(200_000)
    // Another window may have been quoted since.
    await until(seller.shop, ({ sales }) => sales.some(({ state }) => state === 'expired'))
    expect(await shop.wallet.balance()).toBe(0)
    open()
    arena.skip(11_000) // it asks again every ten seconds
    const { paid } = await until(device.download, ({ have }) => have > 0)
    expect(paid).toBeGreaterThan(0)
    await until(seller.shop, ({ earned }) => earned >= paid)
    await expect.poll(async () => (await shop.wallet.balance()) - seller.shop.get().earned).toBe(0)
    expect(device.download.get().boughtTwice).toBe(0)
  }))

test('an invoice that lapsed unpaid cannot be paid any more, and its seller writes the bytes off', () =>
  inArena(async (arena) => {
    const seller = await arena.seller()
    const buyer = await hostileBuyer(arena, { balance: GRANT })
    const { signed, ciphertext } = (await buyer.take(await buyer.wireTo(), [0])) as Taken
    await until(seller.shop, ({ unpaidBytes }) => unpaidBytes === ciphertext.length)
    arena.skip(151_000)
    await until(seller.shop, ({ unpaidBytes }) => unpaidBytes === 0)
    expect(await buyer.wallet.pay(signed.quote.invoice)).toMatchObject({ tag: 'failed', code: 'expired' })
    expect(buyer.keys.size).toBe(0)
    expect(await buyer.wallet.balance()).toBe(GRANT)
  }))

test('settles and hangs up in the same moment: the wallet’s preimage opens the window', () =>
  inArena(async (arena) => {
    let paid: () => void = () => undefined
    const settled = new Promise<void>((done) => (paid = done))
    const hostile: HostileSeller = await hostileSeller(arena, {
      afterQuote: async ({ peer }) => {
        await settled
        peer.drop('has its sats')
      },
    })
    const stop = hostile.wallet.onEvent((event) => event.tag === 'received' && paid())
    const device = await arena.device()
    await settled
    stop()
    await hostile.leave()
    await until(device.download, ({ have }) => have > 0)
    await finish(arena, device)
    await accounted(device)
  }))
