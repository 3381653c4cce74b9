/**
 * `npm test`: a browser, types, lint, unit tests, the web app's build and the journeys.
 * The last line is `N passed, N failed` (and `, N skipped`); the exit code says the same. What fails outside `web/core`
 * is played once more, and named where it passes only then.
 *
 *   --full          also the slow journeys (`*.full.spec.ts`) and the slow unit tests (`*.full.test.ts`)
 *   --extra         only those
 *   --budget-s N    ends the journeys and the slow tests after N seconds, and says which it left out
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import * as v from 'valibot'
import { runChecks, show } from './check.ts'
import { ensureBrowser } from './support/browser.ts'
import { root, run, tool } from './support/run.ts'

const UNIT_TIMEOUT_MS = 8 * 60_000
const BUILD_TIMEOUT_MS = 4 * 60_000
const JOURNEY_TIMEOUT_MS = 10 * 60_000
const FULL_TIMEOUT_MS = 30 * 60_000
/** Of a budget, kept for what failed: no file is played for the first time in it. */
const AGAIN_RESERVE_MS = 3 * 60_000

const { values: flags } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    extra: { type: 'boolean', default: false },
    'budget-s': { type: 'string' },
  },
})
const startedMs = performance.now()
const elapsedS = (): number => Math.round((performance.now() - startedMs) / 1000)
const budgetS = flags['budget-s'] === undefined ? Infinity : Number(flags['budget-s'])
if (Number.isNaN(budgetS)) throw new Error('--budget-s takes a number of seconds.')

const sums = { passed: 0, failed: 0, skipped: 0 }
const failures: string[] = []
const leftOut: string[] = []
const flaky: string[] = []
const say = (line: string): void => console.log(line)
const heading = (name: string): void => say(`\n── ${name} (${elapsedS()} s) ──`)

function count(name: string, ok: boolean, output = ''): void {
  if (ok) sums.passed++
  else {
    sums.failed++
    failures.push(name)
    if (output !== '') say(output.trimEnd())
  }
}

/** What we read of Vitest's JSON report. */
const reportSchema = v.object({
  testResults: v.array(
    v.object({
      name: v.string(),
      status: v.string(),
      message: v.optional(v.string(), ''),
      assertionResults: v.array(v.object({ fullName: v.string(), status: v.string() })),
    }),
  ),
})

type Sums = Readonly<{ passed: number; skipped: number; failed: readonly string[] }>
/** What a run of Vitest came to, file by file; `problem`: it did not come to its end. */
type Outcome = Readonly<{ files: ReadonlyMap<string, Sums>; problem?: string; timedOut: boolean }>

/** A run without a report, or without a test, is a failure. */
async function vitest(
  timeoutMs: number,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  onLine = say,
): Promise<Outcome> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-tests-'))
  const file = path.join(dir, 'report.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const ended = await run(...tool('vitest', 'run', ...reporters, ...args), { timeoutMs, env, onLine })
  const files = new Map<string, Sums>()
  try {
    const report = v.parse(reportSchema, JSON.parse(fs.readFileSync(file, 'utf8')))
    for (const { name, status, message, assertionResults } of report.testResults) {
      const where = path.relative(root, name)
      const of = (status: string): string[] =>
        assertionResults.flatMap((test) => (test.status === status ? [`${where}: ${test.fullName}`] : []))
      const [passed, failed] = [of('passed').length, of('failed')]
      const loaded = status !== 'failed' || failed.length > 0
      if (!loaded) onLine(message)
      const skipped = assertionResults.length - passed - failed.length
      files.set(where, { passed, skipped, failed: loaded ? failed : [where] })
    }
  } catch (error) {
    const problem = ended.timedOut ? `not done after ${timeoutMs / 1000} s` : String(error)
    return { files: new Map(), problem, timedOut: ended.timedOut }
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
  const all = [...files.values()]
  const green = all.every(({ failed }) => failed.length === 0)
  const problem =
    all.length === 0 ? 'no test ran' : ended.code !== 0 && green ? `ended with ${ended.code}` : undefined
  return { files, ...(problem !== undefined && { problem }), timedOut: false }
}

function add(name: string, { files, problem }: Outcome): void {
  for (const { passed, skipped, failed } of files.values()) {
    sums.passed += passed
    sums.skipped += skipped
    sums.failed += failed.length
    failures.push(...failed)
  }
  if (problem !== undefined) count(`${name} (${problem})`, false)
}

/** The arguments that play the failed tests of a file alone; all of it where it could not be loaded, or its tests share a stage. */
function onlyFailed(file: string, failed: readonly string[]): string[] {
  if (file.startsWith('e2e/attacks/')) return [file]
  const prefix = `${file}: `
  const names = failed.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []))
  if (names.length < failed.length) return [file]
  return [
    file,
    '-t',
    `^(${names.map((name) => name.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`)).join('|')})$`,
  ]
}

/**
 * Tests with real sockets, processes and browsers run on a machine that has other work: what fails there is played once
 * more by itself, and what passes only then is named at the end. The core has no clock of its own: there once is enough.
 */
async function playedAgain(first: Outcome, play: (args: string[]) => Promise<Outcome>): Promise<Outcome> {
  const files = new Map(first.files)
  for (const [file, sums] of first.files) {
    if (file.startsWith('web/core/') || sums.failed.length === 0) continue
    say(`Failed, and played once more: ${sums.failed.join('; ')}`)
    const again = (await play(onlyFailed(file, sums.failed))).files.get(file)
    if (again === undefined || again.failed.length > 0 || again.passed < sums.failed.length) continue
    flaky.push(...sums.failed)
    files.set(file, { ...sums, passed: Math.max(again.passed, sums.passed + sums.failed.length), failed: [] })
  }
  return { ...first, files }
}

const isFull = (file: string): boolean => /\.full\.(spec|test)\.ts$/.test(file)
const filesOf = (...patterns: string[]): string[] => fs.globSync(patterns, { cwd: root }).toSorted()
const journeyFiles = (): string[] =>
  filesOf(...['journeys', 'failures', 'peers', 'attacks'].map((room) => `e2e/${room}/**/*.spec.ts`)).filter(
    (file) => (isFull(file) ? flags.full || flags.extra : !flags.extra),
  )

const env: NodeJS.ProcessEnv = { ...process.env, NODE_OPTIONS: '--disable-warning=ExperimentalWarning' }

heading('Browser')
const browser = await ensureBrowser(say)
if (browser.tag === 'found') {
  env['CHROMIUM'] = browser.path
  say(browser.path)
} else count('a browser', false, browser.message)

if (!flags.extra) {
  heading('Types, lint, format')
  for (const check of await runChecks(show)) count(check.name, check.ok)
  heading('Unit tests')
  const play = (args: string[]): Promise<Outcome> => vitest(UNIT_TIMEOUT_MS, args, env)
  add('unit tests', await playedAgain(await play([]), play))
}

heading('Web app')
const built = await run(
  process.execPath,
  [path.join(root, 'device/setup.mjs'), '--build', 'bin', 'prettier', '--version'],
  {
    timeoutMs: BUILD_TIMEOUT_MS,
    onLine: say,
  },
)
count('the web app builds', built.code === 0)

heading('Journeys')

/** One file: what the budget leaves no time for is left out, also half way. */
async function single(file: string, onLine = say): Promise<void> {
  const leftMs = (): number => (budgetS - elapsedS()) * 1000
  const firstLeftMs = leftMs() - AGAIN_RESERVE_MS
  if (firstLeftMs <= 0) {
    leftOut.push(file)
    return
  }
  const timeoutMs = isFull(file) ? FULL_TIMEOUT_MS : JOURNEY_TIMEOUT_MS
  const config = file.endsWith('.spec.ts') ? ['--config', 'e2e/journeys/vitest.config.ts'] : []
  const fileEnv = isFull(file) ? { ...env, SATPATCH_FULL: '1' } : env
  const play = (atMostMs: number, args: readonly string[]): Promise<Outcome> =>
    vitest(Math.max(1000, Math.min(timeoutMs, atMostMs)), [...config, ...args], fileEnv, onLine)
  const played = await play(firstLeftMs, [file])
  if (played.timedOut && firstLeftMs < timeoutMs) leftOut.push(file)
  else add(file, await playedAgain(played, (args) => play(leftMs(), args)))
}

/** The failures and attacks mostly wait for something to be noticed: two go on at once, and each is shown when it ends. */
async function failuresLane(files: string[]): Promise<void> {
  for (let file = files.shift(); file !== undefined; file = files.shift()) {
    const lines: string[] = []
    await single(file, (line) => lines.push(line))
    say(lines.join('\n'))
  }
}

const isFailure = (file: string): boolean =>
  file.startsWith('e2e/failures/') || (file.startsWith('e2e/attacks/') && !file.endsWith('.full.spec.ts'))
const failing = journeyFiles().filter(isFailure)
await Promise.all([failuresLane(failing), failuresLane(failing)])
for (const file of journeyFiles()) if (!isFailure(file)) await single(file)

if (flags.full || flags.extra) {
  heading('Slow unit tests')
  for (const file of filesOf('{web,relay,device,e2e}/**/*.full.test.ts')) await single(file)
}

heading('Sums')
if (leftOut.length > 0) say(`Left out for want of time: ${leftOut.join(', ')}`)
if (!flags.full && !flags.extra) say('The slow journeys and unit tests run with: npm run test:full')
if (flaky.length > 0) say(`Passed only when played once more: ${flaky.join(', ')}`)
for (const name of failures) say(`✗ ${name}`)
const skipped = sums.skipped > 0 ? `, ${sums.skipped} skipped` : ''
say(`${elapsedS()} s\n`)
say(`${sums.passed} passed, ${sums.failed} failed${skipped}`)
process.exitCode = sums.failed === 0 ? 0 : 1
