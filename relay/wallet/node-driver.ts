/**
 * Between the books and the node. Payments are locked in the books first; this tells the node and writes down its last
 * word, whenever it comes. A payment without that word is tracked, over lost connections and restarts. One that the
 * node has never heard of is told again: by its hash the node pays it once, however often it hears.
 */
import type { NodeBackend } from './backend.ts'
import type { NodeBooks } from './node-books.ts'
import { NodeError, type NodeStatus, type Paid } from './node.ts'
import type { Outcome } from './payments.ts'

export type NodeDriver = Readonly<{
  /** Locked and committed: tells the node. */
  send(paymentHash: string): void
  /** A hold invoice that the node has now. */
  hold(paymentHash: string): void
  /** Asks the node about an invoice and writes down what it says. */
  look(paymentHash: string): Promise<void>
  /** What is wrong with the node now. */
  trouble(): string | undefined
  status(): NodeStatus
  stop(): void
}>

export type NodeDriverOptions = Readonly<{
  backend: NodeBackend
  books: NodeBooks
  /** Runs in a transaction of its own, tells whom it concerns after the commit. */
  write: (run: () => Outcome) => void
  /** Runs at once; for reading the books. */
  read: <T>(run: () => T) => T | undefined
  now: () => number
  log: (level: 'info' | 'warn', detail: object, message: string) => void
}>

const AGAIN_MS = [250, 500, 1000, 2000, 5000, 10_000, 30_000]
const SWEEP_EVERY_MS = 1000
const STATUS_EVERY_SWEEPS = 10
/** The node is not told of a payment any more that it has not heard of for so long. */
const TELL_FOR_MS = 3_600_000
/** The node cancels an expired invoice soon after; then it is asked for its last word. */
const AFTER_EXPIRY_MS = 30_000
const LOOK_UPS = 100
const LISTENS_AFTER_MS = 2000
const AT_ONCE = 8

export function createNodeDriver(options: NodeDriverOptions): NodeDriver {
  const { backend, books, write, read, now, log } = options
  const { node } = backend
  const stopped = new AbortController()
  const following = new Set<string>()
  const holds = new Map<string, () => void>()
  let status = backend.status()
  let trouble: string | undefined

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      stopped.signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
    })
  const heard = (): void => {
    if (trouble === undefined) return
    log('info', {}, 'the Lightning node answers again')
    trouble = undefined
    void catchUp()
  }
  const lost = (error: unknown): void => {
    if (stopped.signal.aborted) return
    const words = error instanceof Error ? error.message : String(error)
    if (trouble !== words) log('warn', { error: words }, 'trouble with the Lightning node')
    trouble = words
  }

  /** The node's last word, or `undefined` when this attempt brought none. `told`: the node may have heard of it. */
  const lastWord = async (hash: string, told: boolean): Promise<Paid | undefined> => {
    const known = told ? await node.track(hash) : undefined
    const payment = read(() => books.inFlight(hash))
    if (!payment) return undefined
    // That a hash failed may be the end of an earlier try of it, while this one is still on its way to the node.
    if (known && !(known.tag === 'failed' && payment.again)) return known
    if (told && now() - payment.lockedAtMs > TELL_FOR_MS)
      return { tag: 'failed', why: 'The Lightning node never took this payment.' }
    try {
      return await node.pay(payment)
    } catch (error) {
      if (!(error instanceof NodeError) || error.code !== 'refused') throw error
      // Its word against the payment, unless it is one that it has already.
      return (
        (await node.track(hash)) ?? { tag: 'failed', why: `The Lightning node refused: ${error.message}` }
      )
    }
  }
  const follow = async (hash: string, fresh: boolean): Promise<void> => {
    if (following.has(hash)) return
    following.add(hash)
    for (let tries = 0; !stopped.signal.aborted; tries++) {
      try {
        const word = await lastWord(hash, !fresh || tries > 0)
        heard()
        if (word) write(() => books.decide(hash, word, now()))
        break
      } catch (error) {
        lost(error)
        await pause(AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)] ?? 0)
      }
    }
    following.delete(hash)
  }

  /** Also those whose last word came and could not be written. */
  const followAll = (): void => {
    for (const hash of read(() => books.allInFlight()) ?? []) void follow(hash, false)
  }

  const look = async (hash: string): Promise<void> => {
    const said = await node.lookUpInvoice(hash)
    heard()
    if (stopped.signal.aborted || said?.tag === 'open') return
    write(() => books.heard(hash, said, now()))
  }
  const lookQuietly = (hash: string): Promise<void> => look(hash).catch(lost)
  const hold = (hash: string): void => {
    if (holds.has(hash) || stopped.signal.aborted) return
    const changed = (): void => void lookQuietly(hash)
    holds.set(hash, node.watchHold(hash, changed))
  }
  /** All that may have happened while nobody listened. */
  const catchUp = async (): Promise<void> => {
    const open = read(() => books.openAtNode()) ?? []
    for (const one of open) if (one.hold) hold(one.hash)
    const next = open.values()
    const lane = async (): Promise<void> => {
      for (const { hash } of next) await lookQuietly(hash)
    }
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
  }

  /** Overdue holds go back to their payers before the chain has to decide; expired invoices are asked about once. */
  const sweep = async (): Promise<void> => {
    for (const hash of read(() => books.overdueAtNode(now())) ?? []) {
      try {
        await node.cancel(hash)
        write(() => books.heard(hash, { tag: 'cancelled' }, now()))
      } catch (error) {
        if (!(error instanceof NodeError) || error.code !== 'refused') throw error
        await look(hash)
      }
    }
    for (const hash of read(() => books.expiredAtNode(now() - AFTER_EXPIRY_MS, LOOK_UPS)) ?? [])
      await look(hash)
    const open = new Set(holds.size === 0 ? [] : read(() => books.openAtNode())?.map(({ hash }) => hash))
    for (const [hash, end] of holds)
      if (!open.has(hash)) {
        end()
        holds.delete(hash)
      }
  }
  const attend = async (): Promise<void> => {
    for (let round = 1; !stopped.signal.aborted; round++) {
      await pause(SWEEP_EVERY_MS)
      if (stopped.signal.aborted) return
      try {
        if (round % STATUS_EVERY_SWEEPS === 0) {
          status = await node.status()
          heard()
          followAll()
        }
        await sweep()
      } catch (error) {
        lost(error)
      }
    }
  }

  followAll()
  const unwatch = node.watchInvoices({
    invoice: (hash) => void lookQuietly(hash),
    connected: () => {
      void catchUp()
      // It says nothing when it begins to listen: once more for what came in between.
      void pause(LISTENS_AFTER_MS).then(catchUp)
    },
    lost,
  })
  void attend()

  return {
    send: (hash) => void follow(hash, true),
    hold,
    look,
    trouble: () => trouble,
    status: () => status,
    stop() {
      stopped.abort()
      unwatch()
      for (const end of holds.values()) end()
      node.close()
    },
  }
}
