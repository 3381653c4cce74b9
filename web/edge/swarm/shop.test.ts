import { expect, test, vi } from 'vitest'
import { fromHex, sha256Hex, type Sha256Hex } from '../../core/bytes.ts'
import { openQuote } from '../../core/exchange/quote.ts'
import { MONEY, party } from '../../core/exchange/sample.ts'
import { msat } from '../../core/money/msat.ts'
import type { HoldInvoiceRequest, InvoiceRequest, Transaction, WalletInfo } from '../wallet/wallet.ts'
import { shopScene } from './shop.sample.ts'

const PIECE = 1024 * 1024
const patience = { timeout: 8000, interval: 20 }

test.each([
  ['', 0],
  [', also after the clock was set back', -3_600_000],
])('a taker that does not read keeps no other from its window%s', async (_when, setMs) => {
  const { shop, join, pass } = shopScene({ length: 4 * PIECE, pieceLength: PIECE }, ['preimage-invoices'])
  await shop.start()
  const never = new Promise<void>(() => undefined)
  const slow = ['slow', 'slower', 'slowest'].map((name) => join(name, () => never))
  for (const [piece, taker] of slow.entries()) taker.say({ t: 'request', id: 1, pieces: [piece] })
  await vi.waitFor(() => expect(slow[0]?.bytes()).toBeGreaterThan(0), patience)
  pass(setMs)
  const quick = join('quick')
  quick.say({ t: 'request', id: 1, pieces: [3] })
  await new Promise(setImmediate) // the line has looked at the clock
  for (let ticks = 0; ticks < 2; ticks++) {
    pass(7400)
    await vi.waitFor(() => expect(slow[ticks + 1]?.bytes()).toBeGreaterThan(0), patience)
  }
  await vi.waitFor(() => expect(quick.said('quote')).toBe(true), patience)
  expect(quick.bytes()).toBe(PIECE)
  await shop.stop()
})

test('a quote leaves its taker the time to pay, however slowly the window went out', async () => {
  const { shop, join, pass, nowMs } = shopScene({ length: PIECE, pieceLength: PIECE }, ['preimage-invoices'])
  await shop.start()
  // 16 frames of 64 KiB at 6.4 KiB/s: 160 s, more than a quote lives.
  const taker = join('slow', () => Promise.resolve(void pass(10_000)))
  taker.say({ t: 'request', id: 1, pieces: [0] })
  await vi.waitFor(() => expect(taker.said('quote')).toBe(true), patience)
  const frame = taker.heard.find((message) => message.t === 'quote')
  const { expiry = 0 } = (frame && openQuote(frame.quote, frame.sig)?.quote) ?? {}
  expect(expiry * 1000 - nowMs()).toBeGreaterThanOrEqual(60_000)
  await shop.stop()
})

const SMALL = { length: 65_536, pieceLength: 65_536 }
const transaction = (paymentHash: Sha256Hex, state: Transaction['state']): Transaction => ({
  direction: 'in',
  state,
  paymentHash,
  amount: msat(63),
  fees: msat(0),
  description: '',
  createdAtMs: 0,
})

test('an invoice says in both histories how much of what is sold, and by whom to whom', async () => {
  const said: string[] = []
  const { shop, join } = shopScene(SMALL, ['preimage-invoices'], {
    makeInvoice: ({ description, amount }: InvoiceRequest) => {
      said.push(description)
      return Promise.resolve({ bolt11: 'lnbcrt', paymentHash: '' as Sha256Hex, amount, expiresAtMs: 0 })
    },
  })
  await shop.start()
  const buyer = join('buyer')
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  await vi.waitFor(() => expect(buyer.said('quote')).toBe(true), patience)
  const name = (who: string): string => party(who).key.slice(0, 4)
  expect(said).toEqual([`1 piece of x, seed-${name('seller')} to device-${name('buyer')}`])
  await shop.stop()
})

test('a lock that the wallet could not be asked about is settled when it answers again', async () => {
  let paymentHash = '' as Sha256Hex
  let answers = false
  const settled: string[] = []
  const mute = () => Promise.reject(new Error('The wallet has not answered in time.'))
  const { shop, join, pass, tell } = shopScene(SMALL, ['hold-invoices'], {
    makeHoldInvoice: (request: HoldInvoiceRequest) => {
      paymentHash = request.paymentHash
      return Promise.resolve({ bolt11: 'lnbcrt', paymentHash, amount: request.amount, expiresAtMs: 0 })
    },
    settleHoldInvoice: (preimage) => (answers ? Promise.resolve(void settled.push(preimage)) : mute()),
    lookUp: () => (answers ? Promise.resolve(transaction(paymentHash, 'accepted')) : mute()),
  })
  await shop.start()
  const buyer = join('buyer')
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  await vi.waitFor(() => expect(buyer.said('quote')).toBe(true), patience)
  tell({ tag: 'hold-accepted', transaction: transaction(paymentHash, 'accepted'), settleByMs: 0 })
  await new Promise(setImmediate)
  expect(buyer.said('key')).toBe(false)
  answers = true
  pass(10_000)
  await vi.waitFor(() => expect(buyer.said('key')).toBe(true), patience)
  expect(settled.map((preimage) => sha256Hex(fromHex(preimage)))).toEqual([paymentHash])
  await shop.stop()
})

test('a payment that was on its way when its quote had lapsed brings the key and counts', async () => {
  let paymentHash = '' as Sha256Hex
  let state: Transaction['state'] = 'pending'
  let asked = 0
  const { shop, join, pass, tell, journal } = shopScene(SMALL, ['preimage-invoices'], {
    makeInvoice: (request: InvoiceRequest) => {
      paymentHash = sha256Hex(fromHex(request.preimage ?? ''))
      return Promise.resolve({ bolt11: 'lnbcrt', paymentHash, amount: request.amount, expiresAtMs: 0 })
    },
    lookUp: () => Promise.resolve(transaction(paymentHash, (asked++, state))),
  })
  await shop.start()
  const [buyer, other] = [join('buyer'), join('other')]
  const buys = async (who: typeof buyer): Promise<Sha256Hex> => {
    who.say({ t: 'request', id: 1, pieces: [0] })
    await vi.waitFor(() => expect(who.said('quote')).toBe(true), patience)
    pass(151_000)
    const before = asked
    await vi.waitFor(() => expect(asked).toBeGreaterThan(before), patience)
    return paymentHash
  }
  tell({ tag: 'received', transaction: transaction(await buys(buyer), 'settled') })
  expect(buyer.said('key')).toBe(true)
  await vi.waitFor(() => expect(shop.get().earned).toBe(63), patience)
  const records = () => [...journal.records.keys()].filter((key) => key.startsWith('sale/'))
  await buys(other)
  expect(records()).toHaveLength(1)
  state = 'expired'
  pass(10_000)
  await vi.waitFor(() => expect(records()).toEqual([]), patience)
  await shop.stop()
})

test('one that is stopped while its wallet is asked what it can do sells nothing, and listens to nobody', async () => {
  const asked = Promise.withResolvers<WalletInfo>()
  let listening = 0
  const { shop, join } = shopScene(SMALL, [], {
    info: () => asked.promise,
    onEvent: () => {
      listening++
      return () => void listening--
    },
  })
  const starting = shop.start()
  await new Promise(setImmediate)
  await shop.stop()
  asked.resolve({ money: MONEY, alias: '', features: new Set(['receive', 'preimage-invoices']) })
  await starting
  expect(listening).toBe(0)
  const buyer = join('buyer')
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  expect(buyer.heard).toEqual([])
})

test('a debt whose buyer asks for another invoice again and again costs the wallet one', async () => {
  let made = 0
  const { shop, join, pass } = shopScene(SMALL, [], {
    makeInvoice: ({ amount }: InvoiceRequest) => {
      const paymentHash = sha256Hex(new Uint8Array([++made]))
      return Promise.resolve({ bolt11: `lnbcrt${made}`, paymentHash, amount, expiresAtMs: 0 })
    },
  })
  await shop.start()
  const buyer = join('buyer')
  const quotes = () =>
    buyer.heard.flatMap((message) => {
      const signed = message.t === 'quote' ? openQuote(message.quote, message.sig) : undefined
      return signed === undefined ? [] : [signed.quote]
    })
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  await vi.waitFor(() => expect(quotes()).toHaveLength(1), patience)
  pass(601_000)
  const { id: quote } = quotes()[0]!
  for (let i = 0; i < 20; i++) buyer.say({ t: 'renew', id: 1, quote })
  await vi.waitFor(() => expect(quotes()).toHaveLength(21), patience)
  expect(made).toBe(2)
  expect(new Set(quotes().map(({ invoice }) => invoice))).toEqual(new Set(['lnbcrt1', 'lnbcrt2']))
  await shop.stop()
})

test('a lock is looked up again also after the clock was set back', async () => {
  let paymentHash = '' as Sha256Hex
  let answers = false
  let looked = 0
  const mute = () => Promise.reject(new Error('The wallet has not answered in time.'))
  const { shop, join, pass, tell } = shopScene(SMALL, ['hold-invoices'], {
    makeHoldInvoice: (request: HoldInvoiceRequest) => {
      paymentHash = request.paymentHash
      return Promise.resolve({ bolt11: 'lnbcrt', paymentHash, amount: request.amount, expiresAtMs: 0 })
    },
    settleHoldInvoice: () => (answers ? Promise.resolve() : mute()),
    lookUp: () => {
      looked++
      return answers ? Promise.resolve(transaction(paymentHash, 'accepted')) : mute()
    },
  })
  await shop.start()
  const buyer = join('buyer')
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  await vi.waitFor(() => expect(buyer.said('quote')).toBe(true), patience)
  tell({ tag: 'hold-accepted', transaction: transaction(paymentHash, 'accepted'), settleByMs: 0 })
  await vi.waitFor(() => expect(looked).toBe(1), patience)
  pass(10_000)
  await vi.waitFor(() => expect(looked).toBe(2), patience)
  answers = true
  pass(-3_600_000)
  await vi.waitFor(() => expect(buyer.said('key')).toBe(true), patience)
  await shop.stop()
})
