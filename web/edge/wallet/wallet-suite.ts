/** What every wallet adapter must do, run over each of them and over the fake. A test file gives it a harness. */
import { afterEach, describe, expect, test } from 'vitest'
import { decodeInvoice } from '../../core/money/bolt11.ts'
import type { Msat } from '../../core/money/msat.ts'
import { WalletError, type Wallet } from './wallet.ts'
import { managingTests } from './wallet-suite-managing.ts'
import {
  everything,
  hashOf,
  invoice,
  next,
  preimageOf,
  type Pair,
  type WalletHarness,
} from './wallet-suite-tools.ts'

export type StartHarness = (options: { holdLimitMs?: number }) => Promise<WalletHarness>

/** Registers the suite. */
export function walletSuite(name: string, start: StartHarness): void {
  describe(`wallet: ${name}`, () => {
    const running: WalletHarness[] = []
    const begin = async (options: { holdLimitMs?: number } = {}): Promise<WalletHarness> => {
      const harness = await start(options)
      running.push(harness)
      return harness
    }
    afterEach(async () => {
      for (const harness of running.splice(0)) await harness.stop()
    })
    const pair = async (): Promise<Pair> => {
      const harness = await begin()
      return { ...harness, payer: await harness.open(10_000), payee: await harness.open(0) }
    }

    test('says what it is and what it can do', async () => {
      const { payer } = await pair()
      const info = await payer.info()
      expect(info.money).toMatch(/^sandbox:/)
      for (const feature of [
        'pay',
        'receive',
        'look-up',
        'history',
        'hold-invoices',
        'preimage-invoices',
      ] as const)
        expect(info.features).toContain(feature)
      expect(await payer.balance()).toBe(10_000)
      expect(await payer.budget()).toBeUndefined()
      expect(payer.status.get().connected).toBe(true)
    })

    test('pays an invoice: the preimage proves it, both sides are told, sums agree below a sat', async () => {
      const { payer, payee } = await pair()
      const made = await payee.makeInvoice(invoice(1234))
      const decoded = decodeInvoice(made.bolt11, { prefix: 'lnbcrt' })
      if (!decoded.ok) throw new Error(decoded.why.tag)
      expect(decoded.invoice).toMatchObject({
        amount: 1234,
        paymentHash: made.paymentHash,
        description: 'a window',
      })
      expect(decoded.invoice.expiresAtMs).toBe(made.expiresAtMs)
      const told = Promise.all([next(payee, 'received'), next(payer, 'sent')])
      const result = await payer.pay(made.bolt11)
      if (result.tag !== 'paid') throw new Error(JSON.stringify(result))
      expect(hashOf(result.preimage)).toBe(made.paymentHash)
      expect(await payer.balance()).toBe(10_000 - 1234)
      expect(await payee.balance()).toBe(1234)
      const [received, sent] = await told
      expect(received.transaction).toMatchObject({ direction: 'in', state: 'settled', amount: 1234 })
      expect(sent.transaction).toMatchObject({
        direction: 'out',
        state: 'settled',
        paymentHash: made.paymentHash,
      })
      expect(await payer.lookUp(made.paymentHash)).toMatchObject({
        direction: 'out',
        preimage: result.preimage,
      })
      expect(await payee.lookUp(made.paymentHash)).toMatchObject({
        direction: 'in',
        preimage: result.preimage,
      })
      expect(await payer.history({ limit: 10, offset: 0 })).toMatchObject([
        { direction: 'out', amount: 1234 },
      ])
      expect(await payer.history({ limit: 10, offset: 1 })).toEqual([])
    })

    test('an invoice with the receiver’s own preimage settles with it, and the secret is used once', async () => {
      const { payer, payee } = await pair()
      const preimage = preimageOf(7)
      const made = await payee.makeInvoice({ ...invoice(5), preimage })
      expect(made.paymentHash).toBe(hashOf(preimage))
      expect((await payee.lookUp(made.paymentHash))?.preimage).toBeUndefined()
      expect(await payer.pay(made.bolt11)).toMatchObject({ tag: 'paid', preimage })
      await expect(payee.makeInvoice({ ...invoice(5), preimage })).rejects.toThrow(WalletError)
    })

    test('a hold invoice locks, counts against the balance, and settles with its secret', async () => {
      const { payer, payee } = await pair()
      const preimage = preimageOf(8)
      const made = await payee.makeHoldInvoice({ ...invoice(4000), paymentHash: hashOf(preimage) })
      const locked = next(payee, 'hold-accepted')
      const paid = payer.pay(made.bolt11)
      const event = await locked
      if (event.tag !== 'hold-accepted') throw new Error(event.tag)
      expect(event.transaction.paymentHash).toBe(made.paymentHash)
      expect(event.settleByMs).toBeGreaterThan(event.transaction.createdAtMs)
      expect(await payer.balance()).toBe(6000)
      expect(await payee.balance()).toBe(0)
      expect(await payee.lookUp(made.paymentHash)).toMatchObject({ state: 'accepted' })
      const other = await payee.makeInvoice(invoice(1))
      expect(await payer.pay(other.bolt11)).toMatchObject({ tag: 'paid' })
      await payee.settleHoldInvoice(preimage)
      await payee.settleHoldInvoice(preimage)
      expect(await paid).toMatchObject({ tag: 'paid', preimage })
      expect(await payee.balance()).toBe(4001)
      await expect(payee.cancelHoldInvoice(made.paymentHash)).rejects.toThrow(WalletError)
    })

    test('a cancelled hold gives everything back and cannot be paid again', async () => {
      const { payer, payee } = await pair()
      const made = await payee.makeHoldInvoice({ ...invoice(4000), paymentHash: hashOf(preimageOf(9)) })
      const locked = next(payee, 'hold-accepted')
      const paid = payer.pay(made.bolt11)
      await locked
      await payee.cancelHoldInvoice(made.paymentHash)
      await payee.cancelHoldInvoice(made.paymentHash)
      expect(await paid).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      expect(await payer.balance()).toBe(10_000)
      expect(await payer.pay(made.bolt11)).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      await expect(payee.settleHoldInvoice(preimageOf(9))).rejects.toThrow(WalletError)
    })

    test('a hold that nobody settles goes back to its payer at its time limit', async () => {
      const harness = await begin({ holdLimitMs: 200 })
      const [payer, payee] = [await harness.open(10_000), await harness.open(0)]
      const made = await payee.makeHoldInvoice({ ...invoice(4000), paymentHash: hashOf(preimageOf(10)) })
      expect(await payer.pay(made.bolt11)).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      expect(await payer.balance()).toBe(10_000)
      await expect(payee.settleHoldInvoice(preimageOf(10))).rejects.toThrow(WalletError)
    })

    test('paying the same invoice at the same time, or again, pays once', async () => {
      const { payer, payee } = await pair()
      const made = await payee.makeInvoice(invoice(100))
      const both = await Promise.all([payer.pay(made.bolt11), payer.pay(made.bolt11)])
      expect(both[0]).toEqual(both[1])
      expect(await payer.pay(made.bolt11)).toEqual(both[0])
      expect(await payer.balance()).toBe(9900)
    })

    test('many payments at once all arrive', async () => {
      const { payer, payee } = await pair()
      const amounts = Array.from({ length: 32 }, (_, i) => i + 1)
      const made = await Promise.all(amounts.map((amount) => payee.makeInvoice(invoice(amount))))
      const results = await Promise.all(made.map(({ bolt11 }) => payer.pay(bolt11)))
      expect(results.map(({ tag }) => tag)).toEqual(amounts.map(() => 'paid'))
      expect(await payee.balance()).toBe(528)
    })

    test('what cannot be paid fails with its reason and costs nothing', async () => {
      const { payer, payee, advance } = await pair()
      const tooMuch = await payee.makeInvoice(invoice(10_001))
      expect(await payer.pay(tooMuch.bolt11)).toMatchObject({ tag: 'failed', code: 'insufficient-balance' })
      expect(await payer.pay('lnbcrt1nonsense')).toMatchObject({ tag: 'failed' })
      const own = await payer.makeInvoice(invoice(5))
      expect(await payer.pay(own.bolt11)).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      const elsewhere = await begin()
      const foreign = await (await elsewhere.open(0)).makeInvoice(invoice(5))
      expect(await payer.pay(foreign.bolt11)).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      const old = await payee.makeInvoice({ ...invoice(5), expirySeconds: 60 })
      advance(61_000)
      expect(await payer.pay(old.bolt11)).toMatchObject({ tag: 'failed', code: 'expired' })
      expect(await payee.lookUp(old.paymentHash)).toMatchObject({ state: 'expired' })
      expect(await payer.balance()).toBe(10_000)
    })

    test('an invoice that somebody else has paid is refused', async () => {
      const { payer, payee, open } = await pair()
      const second = await open(500)
      const made = await payee.makeInvoice(invoice(100))
      expect(await payer.pay(made.bolt11)).toMatchObject({ tag: 'paid' })
      expect(await second.pay(made.bolt11)).toMatchObject({ tag: 'failed', code: 'payment-failed' })
      expect(await second.balance()).toBe(500)
    })

    test('an unknown payment hash is unknown, not an error', async () => {
      const { payer } = await pair()
      expect(await payer.lookUp(hashOf(preimageOf(999)))).toBeUndefined()
    })

    test('an isolated allowance has a balance of its own', async () => {
      const { payer, payee, cut } = await pair()
      const request = {
        name: 'pi',
        limit: 3000 as Msat,
        isolated: true,
        renewal: 'never',
        may: everything,
      } as const
      const pi = await cut(payer, request)
      expect(await payer.balance()).toBe(7000)
      expect(await pi.balance()).toBe(3000)
      expect(await pi.pay((await payee.makeInvoice(invoice(3001))).bolt11)).toMatchObject({
        tag: 'failed',
        code: 'insufficient-balance',
      })
      expect(await pi.pay((await payee.makeInvoice(invoice(3000))).bolt11)).toMatchObject({ tag: 'paid' })
      expect(await payer.balance()).toBe(7000)
      expect(await pi.pay((await payer.makeInvoice(invoice(1))).bolt11)).toMatchObject({ tag: 'failed' })
      expect(await payee.pay((await pi.makeInvoice(invoice(10))).bolt11)).toMatchObject({ tag: 'paid' })
      await expect(cut(payer, { ...request, limit: 7001 as Msat })).rejects.toMatchObject({
        code: 'insufficient-balance',
      })
    })

    test('an allowance spends from its source, within its budget and every budget above it', async () => {
      const { payer, payee, cut } = await pair()
      const request = {
        name: 'a',
        limit: 2000 as Msat,
        isolated: false,
        renewal: 'daily',
        may: everything,
      } as const
      const upper = await cut(payer, request)
      const lower = await cut(upper, { ...request, name: 'b', limit: 5000 as Msat, renewal: 'never' })
      const pay = async (from: Wallet, amount: number) =>
        from.pay((await payee.makeInvoice(invoice(amount))).bolt11)
      expect(await pay(lower, 1500)).toMatchObject({ tag: 'paid' })
      // Of its own 5000 only what the layer above lets through.
      expect(await lower.budget()).toEqual({ total: 2000, used: 1500 })
      expect(await upper.budget()).toMatchObject({ total: 2000, used: 1500 })
      expect((await upper.budget())?.renewsAtMs).toBeGreaterThan(0)
      expect(await pay(lower, 501)).toMatchObject({ tag: 'failed', code: 'quota-exceeded' })
      expect(await pay(upper, 500)).toMatchObject({ tag: 'paid' })
      expect(await pay(payer, 100)).toMatchObject({ tag: 'paid' })
      expect(await payer.balance()).toBe(10_000 - 2100)
    })

    test('a payment is told to the allowance that made it and to its source, not to its siblings', async () => {
      const { payer, payee, cut } = await pair()
      const request = { limit: 2000 as Msat, isolated: false, renewal: 'never', may: everything } as const
      const [child, sibling] = [
        await cut(payer, { ...request, name: 'child' }),
        await cut(payer, { ...request, name: 'sibling' }),
      ]
      const heard: string[] = []
      sibling.onEvent(({ tag, transaction }) => heard.push(`${tag} ${transaction.amount}`))
      const told = Promise.all([next(child, 'sent'), next(payer, 'sent')])
      await child.pay((await payee.makeInvoice(invoice(7))).bolt11)
      for (const { transaction } of await told) expect(transaction.amount).toBe(7)
      const own = next(sibling, 'sent')
      await sibling.pay((await payee.makeInvoice(invoice(8))).bolt11)
      await own
      expect(heard).toEqual(['sent 8'])
    })

    test('a locked payment counts against the allowance until it comes back', async () => {
      const { payer, payee, cut } = await pair()
      const allowance = await cut(payer, {
        ...{ name: 'a', limit: 1000 as Msat, isolated: false, renewal: 'never', may: everything },
      })
      const made = await payee.makeHoldInvoice({ ...invoice(800), paymentHash: hashOf(preimageOf(20)) })
      const locked = next(payee, 'hold-accepted')
      const paid = allowance.pay(made.bolt11)
      await locked
      expect((await allowance.budget())?.used).toBe(800)
      expect(await allowance.pay((await payee.makeInvoice(invoice(300))).bolt11)).toMatchObject({
        code: 'quota-exceeded',
      })
      await payee.cancelHoldInvoice(made.paymentHash)
      await paid
      expect((await allowance.budget())?.used).toBe(0)
    })

    test('a connection that may only receive cannot pay, and an expired one does nothing', async () => {
      const { payer, payee, cut, advance } = await pair()
      const request = { name: 'shop', limit: 0 as Msat, isolated: true, renewal: 'never' } as const
      const shop = await cut(payer, { ...request, may: new Set(['receive']) })
      expect((await shop.info()).features).not.toContain('pay')
      const due = await shop.makeInvoice(invoice(50))
      expect(await payer.pay(due.bolt11)).toMatchObject({ tag: 'paid' })
      expect(await shop.pay((await payee.makeInvoice(invoice(5))).bolt11)).toMatchObject({
        tag: 'failed',
        code: 'restricted',
      })
      const expiresAtMs = Date.now() + 60_000
      const brief = await cut(payer, { ...request, may: everything, limit: 10 as Msat, expiresAtMs })
      expect(await brief.balance()).toBe(10)
      advance(61_000)
      await expect(brief.balance()).rejects.toMatchObject({ code: 'unauthorized' })
    })

    managingTests(pair)

    test('a closed wallet says so instead of hanging', async () => {
      const { payer, payee } = await pair()
      const made = await payee.makeHoldInvoice({ ...invoice(10), paymentHash: hashOf(preimageOf(30)) })
      const locked = next(payee, 'hold-accepted')
      const paid = payer.pay(made.bolt11)
      await locked
      payer.close()
      expect(await paid).toMatchObject({ tag: 'unknown' })
      await expect(payer.balance()).rejects.toMatchObject({ code: 'unreachable' })
      expect(await payer.pay(made.bolt11)).toMatchObject({
        tag: expect.stringMatching(/failed|unknown/) as string,
      })
      expect(payer.status.get().connected).toBe(false)
    })
  })
}
