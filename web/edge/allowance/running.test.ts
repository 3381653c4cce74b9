import { expect, onTestFinished, test } from 'vitest'
import { sha256Hex, fromHex, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import { newAllowance } from '../../core/allowance/state.ts'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { PayResult, Transaction, Wallet, WalletEvent } from '../wallet/wallet.ts'
import type { AllowanceId } from './api.ts'
import { execute } from './methods.ts'
import { Records, type Meta } from './records.ts'
import { ANSWER_MEMORY_MS, Running } from './running.ts'
import type { SourceState, SourceWatch } from './source-watch.ts'

const START_MS = 1_800_000_000_000
const PREIMAGE = '0d'.repeat(32)
const HASH = sha256Hex(fromHex(PREIMAGE))
const FAILED: PayResult = { tag: 'failed', code: 'payment-failed', message: 'no way' }
const UNKNOWN: PayResult = { tag: 'unknown', message: 'no answer' }

/** The same event, or answer, is `wallet`'s to give; what is asked for is noted. */
async function begin() {
  const clock = { nowMs: START_MS }
  const journal = memoryJournal()
  const disk = { full: false }
  const put: typeof journal.put = (...args) =>
    disk.full ? Promise.reject(new Error('no space left')) : journal.put(...args)
  const meta: Meta = {
    ...{ id: '00'.repeat(8) as AllowanceId, home: 'here', source: { tag: 'wallet', id: 'mine' } },
    ...{ client: '11'.repeat(32) as PartyKey, service: '22'.repeat(32) as PartyKey },
    ...{ relays: [], createdAtMs: START_MS },
  }
  const terms = {
    ...{ name: 'pi', limit: msat(100_000), renewal: 'never' as const, paused: false, revoked: false },
    may: { pay: true, receive: true },
  }
  const running = await Running.load(
    {
      ...{ meta, records: new Records({ ...journal, put }), nowMs: () => clock.nowMs, below: undefined },
      ...{ claimed: () => false, onChange: () => undefined, log: () => undefined },
    },
    newAllowance(terms, START_MS),
  )
  onTestFinished(() => running.stop())
  const listeners = new Set<(event: WalletEvent | { tag: 'back' }) => void>()
  const say: { pay: PayResult; found: Transaction | undefined } = { pay: FAILED, found: undefined }
  const asked = { refreshes: 0 }
  const wallet: Wallet = {
    ...createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(0)),
    pay: () => Promise.resolve(say.pay),
    lookUp: () => Promise.resolve(say.found),
  }
  const source: SourceWatch = {
    wallet,
    state: liveCell<SourceState>({ connected: true, info: await wallet.info() }),
    on: (run) => (listeners.add(run), () => listeners.delete(run)),
    refresh: () => void asked.refreshes++,
    stop: () => undefined,
  }
  running.useSource(source)
  const answered = new Map<string, () => void>()
  running.fronts.add({
    answered: (request) => answered.get(request)?.(),
    unknown: (request) => answered.get(request)?.(),
    ...{ told: () => undefined, changed: () => undefined, belowChanged: () => undefined },
  })
  const pay = (request: string): Promise<void> =>
    new Promise((resolve) => {
      answered.set(request, resolve)
      void running.pay({
        ...{ request, bolt11: 'lnbcrt1', paymentHash: HASH, amount: msat(10_000), ownAmount: false },
        ...{ description: '', expiresAtMs: START_MS + 600_000, maxFee: msat(0) },
        deadAtMs: START_MS + 60_000,
      })
    })
  const tell = (event: WalletEvent | { tag: 'back' }): void => {
    for (const run of listeners) run(event)
  }
  /** When all that has been told until now is done. */
  const idle = (): Promise<void> => running.inTurn(() => Promise.resolve())
  return { running, clock, journal, disk, say, asked, pay, tell, idle }
}

const outgoing = (state: Transaction['state'], hash: Sha256Hex = HASH): Transaction => ({
  ...{ direction: 'out', state, paymentHash: hash, amount: msat(10_000), fees: msat(0) },
  ...{ createdAtMs: START_MS, ...(state === 'settled' && { preimage: PREIMAGE }) },
})
const SENT: WalletEvent = { tag: 'sent', transaction: outgoing('settled') }

test('a payment that is tried again, and of which its wallet tells twice, counts once', async () => {
  const { running, say, pay, tell, idle } = await begin()
  await pay('first')
  expect(running.past.get(HASH)?.fate).toMatchObject({ tag: 'failed' })
  say.pay = UNKNOWN
  await pay('second')
  tell(SENT)
  tell(SENT)
  await idle()
  expect(running.state).toMatchObject({ spent: 10_000, totalSpent: 10_000 })
})

test('a payment that is tried again stands once in what its holder lists', async () => {
  const { running, say, pay } = await begin()
  await pay('first')
  say.pay = UNKNOWN
  await pay('second')
  const listed = await execute(running, 'list', 'list_transactions', { unpaid: true })
  expect(listed).toMatchObject({ result: { transactions: [{ payment_hash: HASH, state: 'pending' }] } })
})

test('a payment that was given up and goes through while the disk is full counts when it can be written', async () => {
  const { running, disk, say, pay, tell, idle } = await begin()
  await pay('first')
  disk.full = true
  tell(SENT)
  await idle()
  expect(running.state).toMatchObject({ totalSpent: 0 })
  disk.full = false
  say.found = outgoing('settled')
  tell({ tag: 'back' })
  await idle()
  await idle()
  expect(running.state).toMatchObject({ totalSpent: 10_000 })
})

test('what comes back of a payment that had no answer is asked for at once', async () => {
  const { running, say, asked, pay, tell, idle } = await begin()
  say.pay = UNKNOWN
  await pay('first')
  say.found = outgoing('failed')
  expect(asked.refreshes).toBe(0)
  tell({ tag: 'back' })
  await idle()
  await idle()
  expect(running.past.get(HASH)?.fate).toMatchObject({ tag: 'failed' })
  expect(asked.refreshes).toBe(1)
})

test('what its owner wants of one that has stopped is refused, and not taken for done', async () => {
  const { running } = await begin()
  await running.stop()
  const change = { tag: 'terms-set', change: { limit: msat(1) } } as const
  await expect(running.tell(change)).rejects.toMatchObject({ code: 'no-answer' })
})

test('answers are forgotten, on disk too, when their requests are refused by their time', async () => {
  const { running, clock, journal } = await begin()
  const kept = (): number => [...journal.records.keys()].filter((key) => key.includes('/req/')).length
  for (let hour = 0; hour < 48; hour++) {
    await running.remember(String(hour).padStart(64, '0'), { result: {} })
    clock.nowMs += 3_600_000
  }
  expect(running.answers.size).toBeLessThanOrEqual(ANSWER_MEMORY_MS / 3_600_000 + 1)
  expect(kept()).toBe(running.answers.size)
})
