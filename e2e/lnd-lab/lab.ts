/**
 * The wallet service with real LND behind it: two services, one for each node, since a node cannot pay itself. The
 * conformance suite, refusals, speed, kills of service and node in the middle of payments, and the books against the nodes.
 */
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import * as v from 'valibot'
import type { Sha256Hex } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { allChecks, runSuite } from '../nip47/run.ts'
import type { Row } from '../nip47/suite.ts'
import { createPrograms, until, type Program, type Programs } from '../support/processes.ts'
import { root } from '../support/run.ts'
import { booksAgree, type Books } from './books.ts'
import type { Binaries } from './build.ts'
import { startLab, type Access, type Hop, type Lab, type LabNode } from './nodes.ts'

export const OWN_SATS = 1_000_000
const START_TIMEOUT_MS = 60_000
const SETTLE_TIMEOUT_MS = 180_000
const SILENCE_MS = 1500
const PAYMENT_MSAT = msat(2000)
/** Payments asked for at once when something is killed. */
const ROUND = 24
/** LND ends what it resumes long before. */
const HELD_AFTER_MS = 15_000

export type Service = {
  readonly node: LabNode
  readonly dataDir: string
  readonly url: string
  /** The owner's wallet connection. */
  readonly connection: string
  program: Program
  /** SIGKILL, and the same service again on the same port. */
  killAndRestart(): Promise<void>
}

/** Mean of one payment after the other, and payments a second with so many at once. */
export type Speed = Readonly<{ oneMs: number; at8: number; at32: number }>

export type LabReport = Readonly<{
  refusals: readonly string[]
  rows: readonly Row[]
  speed: Speed
  /** `held`: the node itself has not decided them, and the books keep them locked. */
  killed: Readonly<{ payments: number; paid: number; failed: number; held: number }>
  books: readonly Books[]
}>

/** What each of the payments over a third node cost on top, msat, and the books. */
export type RoutedReport = Readonly<{ fees: readonly Fee[]; books: readonly Books[] }>
export type Fee = Readonly<{ amount: number; fee: number }>
/** As LND takes it by default, but for a rate that shows. */
export const HOP: Hop = { baseMsat: 1000, ppm: 10_000 }
/** Its fee is above what so small a payment may cost. */
const TOO_SMALL_MSAT = msat(1000)
const ROUTED_MSAT = [2000, 10_000, 123_456, 1_000_000]

const startedSchema = v.object({ url: v.string(), port: v.number() })

/** A relay with this node behind its wallet service. */
export async function startService(
  programs: Programs,
  node: LabNode,
  options: { dir: string; ownSats: number; extra?: readonly string[] },
): Promise<Service> {
  const dataDir = path.join(options.dir, `relay-${node.name}`)
  const begin = async (port: number): Promise<{ program: Program; url: string; port: number }> => {
    const args = ['relay', '--json', '--port', String(port), '--data', dataDir, ...flagsOf(node)]
    args.push('--lnd-own', String(options.ownSats), ...(options.extra ?? []))
    const program = programs.satpatch(`relay-${node.name}`, args)
    const started = await program.line('its address', START_TIMEOUT_MS, (line) => {
      const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), startedSchema), line)
      return parsed.success ? parsed.output : undefined
    })
    return { program, ...started }
  }
  const { program, url, port } = await begin(0)
  const service: Service = {
    ...{ node, dataDir, url, program },
    connection: fs.readFileSync(path.join(dataDir, 'owner-wallet.txt'), 'utf8').trim(),
    async killAndRestart() {
      service.program.kill('SIGKILL')
      await service.program.exited
      service.program = (await begin(port)).program
    },
  }
  return service
}

/** Puts the node behind a relay. */
export const flagsOf = ({ url, macaroonFile, certFile }: Access): string[] => [
  ...['--lnd', url, '--lnd-macaroon', macaroonFile, '--lnd-cert', certFile],
]

/** Runs all of it in `dir`. @throws Error for what is not as it should be */
export async function runLab(
  dir: string,
  binaries: Binaries,
  say: (line: string) => void,
): Promise<LabReport> {
  const programs = createPrograms(path.join(dir, 'logs'))
  const undo: (() => void)[] = []
  const open = async (connection: string): Promise<Wallet> => {
    const wallet = await connectNwc(connection)
    undo.push(() => wallet.close())
    return wallet
  }
  try {
    say('Starting btcd, and two LND nodes with a channel…')
    const lab = await startLab(dir, programs, binaries)
    const refusals = await refusalsOf(dir, lab)
    for (const line of refusals) say(`  refused: ${line}`)
    const a = await startService(programs, await withLeast(lab.alice), { dir, ownSats: OWN_SATS })
    const b = await startService(programs, lab.bob, { dir, ownSats: OWN_SATS })
    say('The conformance suite, from one service to the other…')
    const rows = await runSuite(
      {
        payerUri: a.connection,
        payeeUri: b.connection,
        checks: allChecks({ sdk: true }),
        silenceMs: SILENCE_MS,
      },
      ({ method, check, verdict, why }) =>
        say(`  ${verdict.padEnd(6)} ${method}: ${check}${why ? ` (${why})` : ''}`),
    )
    const [payer, payee] = [await open(a.connection), await open(b.connection)]
    say('Speed…')
    const speed = await measure(payer, payee)
    say(
      `  ${speed.oneMs.toFixed(0)} ms a payment; 8 at once ${speed.at8.toFixed(1)}/s, 32 at once ${speed.at32.toFixed(1)}/s`,
    )
    say('Killing the payer’s service, the payee’s and the node in the middle of payments…')
    const killed = await payUnderKills({ a, b, payer, payee }, say)
    const books = [await booksAgree(a), await booksAgree(b)]
    for (const one of books) say(`  ${one.text}`)
    return { refusals, rows, speed, killed, books }
  } finally {
    for (const step of undo) step()
    await programs.stopAll()
  }
}

/** Payments that a third node routes: the fee is charged, told and in the books of both sides to the msat. */
export async function runRouted(
  dir: string,
  binaries: Binaries,
  say: (line: string) => void,
): Promise<RoutedReport> {
  const programs = createPrograms(path.join(dir, 'logs'))
  const wallets: Wallet[] = []
  try {
    say('Starting btcd, and three LND nodes in a row…')
    const lab = await startLab(dir, programs, binaries, HOP)
    const a = await startService(programs, lab.alice, { dir, ownSats: OWN_SATS })
    const b = await startService(programs, lab.bob, { dir, ownSats: OWN_SATS })
    const [payer, payee] = [await connectNwc(a.connection), await connectNwc(b.connection)]
    wallets.push(payer, payee)
    const all = await payer.balance()
    const small = await payer.pay(await invoiceOf(payee, TOO_SMALL_MSAT))
    if (small.tag !== 'failed' || (await payer.balance()) !== all)
      throw new Error(`a payment of a sat, with a fee above its limit, is ${small.tag}`)
    say(`  a sat is not sent: ${small.message}`)
    const fees: Fee[] = []
    for (const amount of ROUTED_MSAT) {
      const had = await payer.balance()
      const { bolt11, paymentHash } = await payee.makeInvoice({
        ...{ amount: msat(amount), description: 'routed', expirySeconds: 3600 },
      })
      const result = await payer.pay(bolt11)
      if (result.tag !== 'paid') throw new Error(`${amount} msat were not paid: ${result.message}`)
      const told = await payer.lookUp(paymentHash)
      const charged = had - (await payer.balance()) - amount
      if (told?.fees !== result.fees || charged !== result.fees)
        throw new Error(`fees of ${result.fees} msat were told, ${told?.fees} kept, ${charged} charged`)
      fees.push({ amount, fee: result.fees })
      say(`  ${amount / 1000} sats cost ${result.fees / 1000} on top`)
    }
    const books = [await booksAgree(a), await booksAgree(b)]
    for (const one of books) say(`  ${one.text}`)
    return { fees, books }
  } finally {
    for (const wallet of wallets) wallet.close()
    await programs.stopAll()
  }
}

const invoiceOf = async (payee: Wallet, amount = PAYMENT_MSAT): Promise<string> =>
  (await payee.makeInvoice({ amount, description: 'lab', expirySeconds: 3600 })).bolt11

/** @throws Error when one of its payments is not made */
export async function measure(payer: Wallet, payee: Wallet): Promise<Speed> {
  const invoices = (count: number): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, () => invoiceOf(payee)))
  const payAll = async (texts: readonly string[], lanes: number): Promise<number> => {
    const next = texts.values()
    const from = performance.now()
    const lane = async (): Promise<void> => {
      for (const text of next) {
        const result = await payer.pay(text)
        if (result.tag !== 'paid') throw new Error(`a payment was not made: ${result.message}`)
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    return performance.now() - from
  }
  const ONE = 25
  const MANY = 160
  const oneMs = (await payAll(await invoices(ONE), 1)) / ONE
  const at8 = (MANY * 1000) / (await payAll(await invoices(MANY), 8))
  const at32 = (MANY * 1000) / (await payAll(await invoices(MANY), 32))
  return { oneMs, at8, at32 }
}

type Stage = { a: Service; b: Service; payer: Wallet; payee: Wallet }

/** Every payment ends as its two sides say alike, whatever is killed meanwhile. */
async function payUnderKills(
  { a, b, payer, payee }: Stage,
  say: (line: string) => void,
): Promise<LabReport['killed']> {
  const sums = { paid: 0, failed: 0, held: 0 }
  const kills: [string, () => Promise<void>][] = [
    ['the payer’s service', () => a.killAndRestart()],
    ['the payee’s service', () => b.killAndRestart()],
    ['the payer’s node', () => a.node.killAndRestart()],
  ]
  for (const [what, kill] of kills) {
    const made = await Promise.all(
      Array.from({ length: ROUND }, () =>
        payee.makeInvoice({ amount: PAYMENT_MSAT, description: what, expirySeconds: 3600 }),
      ),
    )
    // What is answered does not matter here: the look-up says how each ended.
    const [first] = made.map(({ bolt11 }) => payer.pay(bolt11).catch(() => undefined))
    await first
    await kill()
    const ends = { paid: 0, failed: 0, held: 0 }
    for (const { paymentHash } of made) {
      const end = await endOf(a, payer, paymentHash, what)
      await until(`the payee's side (${what})`, SETTLE_TIMEOUT_MS, async () => {
        const found = await payee.lookUp(paymentHash).catch(() => undefined)
        return found && (found.state === 'settled') === (end === 'paid') ? true : undefined
      })
      ends[end]++
    }
    say(`  ${what}: ${ends.paid} paid, ${ends.failed} not, ${ends.held} held by LND; both sides agree`)
    for (const end of ['paid', 'failed', 'held'] as const) sums[end] += ends[end]
  }
  return { payments: kills.length * ROUND, ...sums }
}

/** How a payment ended for its payer. LND that was killed may keep one in flight for ever; then the books must too. */
const endOf = (
  { node }: Service,
  payer: Wallet,
  paymentHash: string,
  what: string,
): Promise<'paid' | 'failed' | 'held'> => {
  const since = performance.now()
  return until(`the end of a payment (${what})`, SETTLE_TIMEOUT_MS, async () => {
    const found = await payer.lookUp(paymentHash as Sha256Hex).catch(() => null)
    if (found === null) return undefined
    // Never heard of: the request was lost with the process, and nothing was locked.
    if (found === undefined || found.state === 'failed') return 'failed'
    if (found.state === 'settled') return 'paid'
    if (performance.now() - since < HELD_AFTER_MS) return undefined
    const { payments } = (await node.ask('/v1/payments?include_incomplete=true&max_payments=100000')) as {
      payments: { payment_hash: string; status: string }[]
    }
    const at = payments.find((one) => one.payment_hash === paymentHash)
    return at?.status === 'IN_FLIGHT' ? 'held' : undefined
  })
}

/** The same node, opened with no more permissions than README.md names; the macaroon in hex. */
async function withLeast(node: LabNode): Promise<LabNode> {
  const permissions = [
    ...['info:read', 'offchain:read', 'offchain:write', 'invoices:read', 'invoices:write', 'onchain:read'],
  ].map((one) => {
    const [entity, action] = one.split(':')
    return { entity, action }
  })
  const { macaroon } = await node.ask('/v1/macaroon', { permissions })
  return { ...node, macaroonFile: String(macaroon) }
}

/** What the relay says where something about the node is wrong. */
async function refusalsOf(dir: string, { alice, bob }: Lab): Promise<string[]> {
  const wrong: [Access, RegExp][] = [
    [{ ...alice, certFile: bob.certFile }, /does not have the given certificate/],
    [{ ...alice, macaroonFile: bob.macaroonFile }, /does not take this macaroon/],
    [{ ...alice, url: 'https://127.0.0.1:1' }, /does not answer/],
  ]
  const lines: string[] = []
  for (const [access, words] of wrong) {
    const said = await new Promise<string>((resolve) => {
      const args = [
        'device/main.ts',
        'relay',
        '--port',
        '0',
        '--data',
        path.join(dir, 'refused'),
        ...flagsOf(access),
      ]
      execFile(process.execPath, args, { cwd: root, timeout: START_TIMEOUT_MS }, (_error, _out, stderr) =>
        resolve(stderr),
      )
    })
    if (!words.test(said)) throw new Error(`the relay did not refuse with ${String(words)}: ${said}`)
    lines.push(said.split('\n').find((line) => words.test(line)) ?? '')
  }
  return lines
}
