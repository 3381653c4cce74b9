/** `wallet`: payments of play money over NIP-47 on this machine, with and without a million before them; idle connections. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { publicKey } from '../../web/core/nostr/event.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import { audit } from '../../relay/wallet/audit.ts'
import { alternate, inDir, wanted, type Bench, type Context } from './bench.ts'
import { startChild, type Child } from './children.ts'
import type { IdlersConfig } from './children/idlers.ts'
import type { PayersConfig } from './children/payers.ts'
import { openHouse, READY_MS } from './contest.ts'
import { median } from './stats.ts'
import { figure, row, type Row } from './table.ts'
import { writeHistory } from './wallet-history.ts'

const [FEW, MANY] = [8, 32]
const PAST_PAYMENTS = 1_000_000
const IDLE = 10_000
const OPEN_MS = 180_000
const RUN_MS = 180_000
/** What one connection may ask in a second is fewer invoices than a fast machine pays. */
const PAYEES = 8
const IDLE_ROW = 'memory of an idle connection'
const PAYING_ROWS = 'payments'

/** `cpuMs`: what the relay used for one payment. */
type Run = { perSecond: number; p95Ms: number; cpuMs: number }
type House = { run(parallel: number, payments: number): Promise<Run> }

export const walletBench: Bench = {
  name: 'wallet',
  about: 'payments over NIP-47 on loopback, a process for all wallets and one for the relay',
  async run(context) {
    const pairs = context.pairs ?? (context.quick ? 1 : 5)
    const payments = context.quick ? 300 : 1500
    const past = context.quick ? PAST_PAYMENTS / 10 : PAST_PAYMENTS
    const idleRows = wanted(context, IDLE_ROW) ? [await idle(context)] : []
    if (!wanted(context, PAYING_ROWS)) return idleRows
    const rows = await withHouse(context, 0, async (fresh) =>
      withHouse(context, past, async (old) => {
        const many = await alternate(
          pairs,
          () => fresh.run(MANY, payments),
          () => old.run(MANY, payments),
        )
        const few: Run[] = []
        for (let i = 0; i < pairs; i++) few.push(await fresh.run(FEW, payments))
        return [
          row(
            `payments/s, ${MANY} in parallel`,
            many.map(({ a }) => a.perSecond),
            300,
            'higher',
            {
              note: `${payments} payments a run, answered when on the disk; ${cpu(many.map(({ a }) => a))}`,
            },
          ),
          row(`95th percentile, ${MANY} in parallel`, p95s(many.map(({ a }) => a)), 200, 'lower', {
            unit: 'ms',
          }),
          row(`95th percentile, ${FEW} in parallel`, p95s(few), 50, 'lower', {
            unit: 'ms',
            note: `${figure(median(few.map((one) => one.perSecond)))} payments/s`,
          }),
          row(
            `time with ${past.toLocaleString('en')} past payments / with none`,
            many.map(({ a, b }) => a.perSecond / b.perSecond),
            1.1,
            'lower',
            {
              note: `${figure(median(many.map(({ b }) => b.perSecond)))} payments/s; ${cpu(many.map(({ b }) => b))}`,
            },
          ),
        ]
      }),
    )
    return [...rows, ...idleRows]
  },
}

const cpu = (runs: readonly Run[]): string =>
  `${figure(median(runs.map(({ cpuMs }) => cpuMs)))} ms of the relay's CPU each`
const p95s = (runs: readonly Run[]): number[] => runs.map(({ p95Ms }) => p95Ms)

/** A relay with so many payments behind it, and the wallets that will pay. */
async function withHouse<T>(
  context: Context,
  past: number,
  measure: (house: House) => Promise<T>,
): Promise<T> {
  return inDir(context, `wallet-${past}`, async (dir) => {
    const first = await openHouse(dir, { latencyMs: 0 })
    const accounts = async (count: number): Promise<string[]> => {
      const made: string[] = []
      while (made.length < count) made.push(await first.account())
      return made
    }
    const [payees, payers] = [await accounts(PAYEES), await accounts(MANY)]
    await first.child.stop()
    const ledger = path.join(dir, 'relay', 'wallet.sqlite')
    if (past > 0) {
      context.say(`  writing ${past.toLocaleString('en')} past payments`)
      const clients = payers.map(clientOf)
      const payee = clientOf(payees[0] as string)
      writeHistory(ledger, { payers: clients, payee, count: past, untilMs: Date.now() })
    }
    const house = await openHouse(dir, { latencyMs: 0 }, context.profileDir)
    // The relay listens on another port now.
    const here = (uri: string): string =>
      uri.replace(/relay=[^&]*/, `relay=${encodeURIComponent(`${house.url.replace('http', 'ws')}/nostr`)}`)
    const config: PayersConfig = { payees: payees.map(here), payers: payers.map(here) }
    const child = startChild({ program: 'payers.ts', config, profileDir: context.profileDir })
    try {
      await child.next('ready', READY_MS)
      const value = await measure({ run: (n, count) => payingRun(house.child, child, n, count) })
      const { problems } = audit(ledger)
      if (problems.length > 0) throw new Error(`The ledger does not add up: ${problems[0]}`)
      return value
    } finally {
      await child.stop()
      await house.child.stop()
    }
  })
}

async function payingRun(relay: Child, payers: Child, parallel: number, payments: number): Promise<Run> {
  await payers.ask('prepare', { count: payments }, RUN_MS)
  const before = await relay.usage()
  const { detail } = await payers.ask('pay', { parallel }, RUN_MS)
  const latencies = (detail['latenciesMs'] as number[]).toSorted((a, b) => a - b)
  const p95Ms = latencies[Math.ceil(latencies.length * 0.95) - 1] ?? Infinity
  const cpuMs = (((await relay.usage()).cpuS - before.cpuS) * 1000) / payments
  return { perSecond: (payments * 1000) / Number(detail['ms']), p95Ms, cpuMs }
}

async function idle(context: Context): Promise<Row> {
  const count = context.quick ? IDLE / 10 : IDLE
  return inDir(context, 'idle', async (dir) => {
    const house = await openHouse(dir, { latencyMs: 0 })
    const parsed = parseConnection(await house.account())
    if (!parsed.ok) throw new Error(parsed.message)
    const before = residentKb(house.child.pid)
    const url = `${house.url.replace('http', 'ws')}/nostr`
    const config: IdlersConfig = { url, wallet: parsed.connection.wallet, count }
    const idlers = startChild({ program: 'idlers.ts', config })
    try {
      await idlers.next('open', OPEN_MS)
      const kb = (residentKb(house.child.pid) - before) / count
      return row(IDLE_ROW, [kb], 20, 'lower', {
        unit: 'kB',
        note: `${count.toLocaleString('en')} WebSockets with a wallet's subscription; resident memory of the relay`,
      })
    } finally {
      await idlers.stop()
      await house.child.stop()
    }
  })
}

const residentKb = (pid: number): number =>
  Number(/VmRSS:\s*(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])

function clientOf(uri: string): string {
  const parsed = parseConnection(uri)
  if (!parsed.ok) throw new Error(parsed.message)
  return publicKey(parsed.connection.secret)
}
