import { expect, onTestFinished, test, vi } from 'vitest'
import type { NodeBackend } from './backend.ts'
import type { NodeBooks } from './node-books.ts'
import { createNodeDriver } from './node-driver.ts'
import type { LightningNode, NodeStatus, Paid } from './node.ts'

const HASH = '0d'.repeat(32)
const PAID: Paid = { tag: 'paid', preimage: '0e'.repeat(32), fee: 0 }
const NOTHING = { notices: [], decided: [] }

test('the node’s last word that could not be written is asked for again, and written', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const disk = { full: true }
  const words: Paid[] = []
  const pending = (): boolean => words.length === 0
  const node = {
    track: () => Promise.resolve(PAID),
    status: () => Promise.resolve({} as NodeStatus),
    watchInvoices: () => () => undefined,
    close: () => undefined,
  } as Partial<LightningNode> as LightningNode
  const books = {
    allInFlight: () => (pending() ? [HASH] : []),
    inFlight: () => (pending() ? { paymentHash: HASH, lockedAtMs: 0, again: false, maxFee: 0 } : undefined),
    decide: (_hash: string, word: Paid) => (words.push(word), NOTHING),
    openAtNode: () => [],
    expiredAtNode: () => [],
    overdueAtNode: () => [],
  } as Partial<Record<keyof NodeBooks, unknown>> as NodeBooks
  const driver = createNodeDriver({
    ...{ backend: { node, status: () => ({}) } as NodeBackend, books, now: () => 0, log: () => undefined },
    write: (run) => void (disk.full || run()),
    read: (run) => run(),
  })
  onTestFinished(() => driver.stop())
  await vi.advanceTimersByTimeAsync(30_000)
  expect(words).toEqual([])
  disk.full = false
  await vi.advanceTimersByTimeAsync(30_000)
  expect(words).toEqual([PAID])
})
