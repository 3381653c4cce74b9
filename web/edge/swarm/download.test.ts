import { expect, test, vi } from 'vitest'
import { toHex, type Sha256Hex } from '../../core/bytes.ts'
import { MIB, msat, ZERO, type Msat } from '../../core/money/msat.ts'
import type { ConnectionState, PayResult, Transaction, WalletEvent } from '../wallet/wallet.ts'
import { muteWallet, scene } from './download.sample.ts'
import { memoryJournal } from './memory.ts'

const ONE = { length: 65_536, pieceLength: 65_536 }

test('an offer above everything just before the quote neither ends the process nor costs the honest price', async () => {
  const pay = vi.fn(muteWallet().pay)
  const { download, seller } = scene(
    { length: 4 * MIB, pieceLength: 2 * MIB },
    { wallet: muteWallet({ pay }) },
  )
  await download.start()
  const dear = seller('dear')
  dear.offer()
  const request = await vi.waitUntil(() => dear.requests()[0])
  const bytes = dear.deliver(request)
  dear.offer(Number.MAX_SAFE_INTEGER as Msat)
  dear.quote(request, bytes)
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  expect(download.get().state.tag).not.toBe('stopped')
  await download.stop()
})

test('a disk that is full when a debt is written down stops the buying and is named', async () => {
  const journal = memoryJournal()
  const put = journal.put.bind(journal)
  journal.put = (key, ...parts) =>
    key.startsWith('buy/') ? Promise.reject(new Error('ENOSPC: no space left on device')) : put(key, ...parts)
  const { download, seller } = scene(ONE, { wallet: muteWallet(), journal, mode: 'credit' })
  await download.start()
  const lender = seller('lender')
  lender.offer()
  lender.serve(await vi.waitUntil(() => lender.requests()[0]))
  const { state } = await vi.waitUntil(() => {
    const shown = download.get()
    return shown.state.tag === 'waiting' && shown
  })
  expect(state).toMatchObject({ tag: 'waiting', why: 'trouble', text: 'ENOSPC: no space left on device' })
  await download.stop()
})

test('the balance is not asked for after each payment, and at once when a limit is raised', async () => {
  const heard = { event: (_: WalletEvent): void => undefined, limit: (): void => undefined }
  const wallet = muteWallet({
    balance: vi.fn(() => Promise.resolve(ZERO)),
    onEvent: (run) => {
      heard.event = run
      return () => undefined
    },
    onConnection: (run) => {
      heard.limit = () => run({} as ConnectionState)
      return () => undefined
    },
  })
  const { download, seller } = scene(ONE, { wallet })
  await download.start()
  seller('one').offer()
  await vi.waitUntil(() => download.get().state.tag === 'waiting')
  const transaction = {} as Transaction
  heard.event({ tag: 'sent', transaction })
  expect(wallet.balance).toHaveBeenCalledTimes(1)
  heard.limit()
  expect(wallet.balance).toHaveBeenCalledTimes(2)
  await download.stop()
})

test('a seller that was busy is asked again when its rest is over, not at the next tick', async () => {
  vi.useFakeTimers()
  try {
    const { download, seller } = scene(ONE, { wallet: muteWallet() })
    await download.start()
    const busy = seller('busy')
    busy.offer()
    const [first] = busy.requests()
    if (first === undefined) throw new Error('it was not asked')
    busy.say({ t: 'refuse', id: first.id, code: 'busy' })
    await vi.advanceTimersByTimeAsync(249)
    expect(busy.requests()).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(busy.requests()).toHaveLength(2)
    await download.stop()
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})

test('what a payment cost is in the sums and on disk, though its key came before the wallet named it', async () => {
  const journal = memoryJournal()
  const answer = Promise.withResolvers<PayResult>()
  const pay = vi.fn(() => answer.promise)
  const { download, seller } = scene(ONE, { wallet: muteWallet({ pay }), journal })
  await download.start()
  const quick = seller('quick')
  quick.offer()
  const sale = quick.serve(await vi.waitUntil(() => quick.requests()[0]))
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  quick.say({ t: 'key', quote: sale.id, secret: sale.secret })
  await download.complete
  answer.resolve({ tag: 'paid', preimage: toHex(sale.secret), fees: msat(10_000) })
  await vi.waitUntil(() => download.get().windows[0]?.feesMsat === 10_000)
  expect(download.get().fees).toBe(10_000)
  await download.stop()
  // After a restart too.
  const again = scene(ONE, { wallet: muteWallet(), journal })
  await again.download.start()
  await vi.waitUntil(() => again.download.get().fees === 10_000)
  await again.download.stop()
})

test('what a payment cost is asked for at the next start, where the process died between key and answer', async () => {
  const journal = memoryJournal()
  const pay = vi.fn(() => new Promise<PayResult>(() => undefined))
  const { download, seller } = scene(ONE, { wallet: muteWallet({ pay }), journal })
  await download.start()
  const quick = seller('quick')
  quick.offer()
  const { id, secret, paymentHash, amount } = quick.serve(await vi.waitUntil(() => quick.requests()[0]))
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  quick.say({ t: 'key', quote: id, secret })
  await download.complete
  await download.stop()

  const sent = {
    direction: 'out',
    state: 'settled',
    paymentHash,
    amount,
    fees: msat(7),
    createdAtMs: 0,
  } as const
  const lookUp = vi.fn<() => Promise<Transaction | undefined>>(() =>
    Promise.resolve({ ...sent, preimage: toHex(secret) }),
  )
  for (const run of ['asks', 'knows']) {
    const again = scene(ONE, { wallet: muteWallet({ lookUp }), journal })
    await again.download.start()
    await vi.waitUntil(() => again.download.get().windows[0]?.feesMsat === 7)
    expect(again.download.get().fees, run).toBe(7)
    await again.download.stop()
  }
  expect(lookUp).toHaveBeenCalledTimes(1)
})

test('a payment that was given up before a restart, and settles after it, counts as late', async () => {
  let nowMs = 1_800_000_000_000
  const journal = memoryJournal()
  const settled: Transaction[] = []
  const pay = vi.fn(muteWallet().pay)
  // Locked, until it is said to be settled.
  const lookUp = (paymentHash: Sha256Hex): Promise<Transaction> =>
    Promise.resolve(
      settled.find((one) => one.paymentHash === paymentHash) ??
        ({
          direction: 'out',
          state: 'pending',
          paymentHash,
          amount: ZERO,
          fees: ZERO,
          createdAtMs: 0,
        } as const),
    )
  const { download, seller, store } = scene(ONE, {
    wallet: muteWallet({ pay, lookUp }),
    journal,
    nowMs: () => nowMs,
  })
  await download.start()
  const first = seller('first')
  first.offer()
  const locked = first.serve(await vi.waitUntil(() => first.requests()[0]), { quoteS: 3000 })
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  nowMs += 61_000
  const second = seller('second')
  second.offer()
  const sale = second.serve(await vi.waitUntil(() => second.requests()[0], 3000))
  await vi.waitUntil(() => pay.mock.calls.length > 1)
  second.say({ t: 'key', quote: sale.id, secret: sale.secret })
  await download.settled
  await download.stop()

  const { paymentHash, amount, secret } = locked
  const preimage = toHex(secret)
  settled.push({
    direction: 'out',
    state: 'settled',
    paymentHash,
    amount,
    fees: ZERO,
    preimage,
    createdAtMs: 0,
  })
  const again = scene(ONE, { wallet: muteWallet({ lookUp }), journal, store, nowMs: () => nowMs })
  const late = new Promise<number>((done) => again.download.onLate((_, row) => done(row.amountMsat)))
  await again.download.start()
  expect(await late).toBe(amount)
  await again.download.settled
  expect(again.download.get()).toMatchObject({ boughtTwice: 0, paid: amount + sale.amount })
  await again.download.stop()
})

test('a payment that the wallet takes up after its quote has lapsed is opened, not bought again', async () => {
  let nowMs = 1_800_000_000_000
  const known: Transaction[] = []
  const pay = vi.fn(muteWallet().pay)
  const lookUp = vi.fn(() => Promise.resolve(known[0]))
  const { download, seller } = scene(ONE, { wallet: muteWallet({ pay, lookUp }), nowMs: () => nowMs })
  await download.start()
  const slow = seller('slow')
  slow.offer()
  const sale = slow.serve(await vi.waitUntil(() => slow.requests()[0]), { quoteS: 10, invoiceS: 60 })
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  // The wallet has not heard of it when the quote lapses, nor when the invoice does.
  for (const skip of [11_000, 60_000]) {
    nowMs += skip
    const before = lookUp.mock.calls.length
    await vi.waitUntil(() => lookUp.mock.calls.length > before, 3000)
  }
  const { paymentHash, amount, secret } = sale
  known.push({
    direction: 'out',
    state: 'settled',
    paymentHash,
    amount,
    fees: ZERO,
    preimage: toHex(secret),
    createdAtMs: nowMs,
  })
  nowMs += 31_000
  await download.complete
  expect(download.get().paid).toBe(amount)
  expect(pay).toHaveBeenCalledTimes(1)
  await download.stop()
})

test('a seller that falls silent is left, though the clock was set back by an hour', async () => {
  let nowMs = 1_800_000_000_000
  const { download, seller } = scene(ONE, { wallet: muteWallet(), nowMs: () => nowMs })
  await download.start()
  const silent = seller('silent')
  silent.offer()
  await vi.waitUntil(() => silent.requests()[0])
  nowMs -= 3_600_000
  download.get()
  const other = seller('other')
  other.offer()
  nowMs += 16_000
  await vi.waitUntil(() => other.requests()[0], 3000)
  await download.stop()
})

test('an offer that has expired is passed over', async () => {
  let nowMs = 1_800_000_000_000
  const { download, seller } = scene(
    { length: 4 * 65_536, pieceLength: 65_536 },
    { wallet: muteWallet(), nowMs: () => nowMs },
  )
  await download.start()
  const brief = seller('brief')
  brief.offer(undefined, 60)
  const [first] = brief.requests()
  if (first === undefined) throw new Error('it was not asked')
  nowMs += 61_000
  brief.say({ t: 'refuse', id: first.id, code: 'busy' })
  nowMs += 5_000
  brief.offer(undefined, -1)
  await vi.waitUntil(() => download.get().state.tag === 'looking', 3000)
  expect(brief.requests()).toHaveLength(1)
  brief.offer()
  await vi.waitUntil(() => brief.requests().length > 1, 3000)
  await download.stop()
})

test('one that is stopped while it takes up its books listens to nobody', async () => {
  const journal = memoryJournal()
  const read = Promise.withResolvers<void>()
  const { keys } = journal
  journal.keys = async (prefix) => (await read.promise, keys(prefix))
  let listening = 0
  const onEvent = () => {
    listening++
    return () => void listening--
  }
  const { download, seller } = scene(ONE, { wallet: muteWallet({ onEvent }), journal })
  const starting = download.start()
  await download.stop()
  read.resolve()
  await starting
  expect(listening).toBe(0)
  const late = seller('late')
  late.offer()
  expect(late.requests()).toEqual([])
  expect(download.get().state.tag).toBe('stopped')
})

test('what comes in while the balance is asked for is not waited for until it is asked for again', async () => {
  const answers: ((balance: Msat) => void)[] = []
  let hear = (_: WalletEvent): void => undefined
  const { download, seller } = scene(ONE, {
    wallet: muteWallet({
      balance: () => new Promise((done) => answers.push(done)),
      onEvent: (run) => ((hear = run), () => undefined),
    }),
  })
  const starting = download.start()
  await vi.waitUntil(() => answers.length === 1)
  const one = seller('one')
  one.offer()
  hear({ tag: 'received' } as WalletEvent)
  answers[0]!(ZERO) // as it was before
  await starting
  expect(answers).toHaveLength(2)
  answers[1]!(msat(1e9))
  await vi.waitUntil(() => one.requests().length > 0)
  await download.stop()
})

/** Purchases are written down only once `onDisk` resolves. */
function slowJournal() {
  const journal = memoryJournal()
  const onDisk = Promise.withResolvers<void>()
  const put = journal.put.bind(journal)
  let writing = false
  journal.put = async (key, ...parts) => {
    if (key.startsWith('buy/')) {
      writing = true
      await onDisk.promise
    }
    return put(key, ...parts)
  }
  return { journal, onDisk, writes: () => writing }
}

test('a secret that comes before the wallet was asked settles nothing; one that comes after does', async () => {
  const { journal, onDisk, ...disk } = slowJournal()
  const pay = vi.fn(() => new Promise<PayResult>(() => undefined))
  const { download, store, seller } = scene(ONE, { wallet: muteWallet({ pay }), journal })
  await download.start()
  const hasty = seller('hasty')
  hasty.offer()
  const { id, secret, amount } = hasty.serve(await vi.waitUntil(() => hasty.requests()[0]))
  await vi.waitUntil(() => disk.writes())
  hasty.say({ t: 'key', quote: id, secret })
  onDisk.resolve()
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  expect(download.get().paid).toBe(0)
  expect(download.receipts()).toEqual([])
  expect(store.have[0]).toBe(0)
  hasty.say({ t: 'key', quote: id, secret })
  await download.complete
  expect(download.get().paid).toBe(amount)
  await download.stop()
})

test('a secret that came before the wallet was asked, and whose payment fails, is no receipt', async () => {
  const { journal, onDisk, ...disk } = slowJournal()
  const pay = vi.fn(() => Promise.resolve<PayResult>({ tag: 'failed', code: 'payment-failed', message: '' }))
  const { download, seller } = scene(ONE, { wallet: muteWallet({ pay }), journal })
  await download.start()
  const hasty = seller('hasty')
  hasty.offer()
  const { id, secret } = hasty.serve(await vi.waitUntil(() => hasty.requests()[0]))
  await vi.waitUntil(() => disk.writes())
  hasty.say({ t: 'key', quote: id, secret })
  onDisk.resolve()
  await vi.waitUntil(() => pay.mock.calls.length > 0)
  await new Promise(setImmediate)
  expect(download.receipts()).toEqual([])
  await vi.waitUntil(async () => (await journal.keys('buy/')).length === 0)
  await download.stop()
})
