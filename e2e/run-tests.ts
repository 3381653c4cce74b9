/**
 * `npm test`: a browser, types, lint, unit tests, the web app's build and the journeys.
 * The last line is `N passed, N failed` (and `, N skipped`); the exit code says the same.
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

/** Runs Vitest and adds its tests to the sums. A run without a report, or without a test, is a failure. */
async function vitest(
  name: string,
  timeoutMs: number,
  args: string[],
  env: NodeJS.ProcessEnv,
  { onLine = say, late = 'fails' }: { onLine?: (line: string) => void; late?: 'fails' | 'is left out' } = {},
): Promise<void> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-tests-'))
  const file = path.join(dir, 'report.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`]
  const ended = await run(...tool('vitest', 'run', ...reporters, ...args), { timeoutMs, env, onLine })
  let counted = 0
  try {
    const report = v.parse(reportSchema, JSON.parse(fs.readFileSync(file, 'utf8')))
    for (const { name: testFile, status, message, assertionResults } of report.testResults) {
      const where = path.relative(root, testFile)
      counted += assertionResults.length
      for (const test of assertionResults) {
        if (test.status === 'passed' || test.status === 'failed')
          count(`${where}: ${test.fullName}`, test.status === 'passed')
        else sums.skipped++
      }
      const failedInside = assertionResults.some((test) => test.status === 'failed')
      if (status === 'failed' && !failedInside) count(where, false, message) // it did not even load
    }
  } catch (error) {
    if (ended.timedOut && late === 'is left out') {
      leftOut.push(name)
      return
    }
    const why = ended.timedOut ? `not done after ${timeoutMs / 1000} s` : String(error)
    count(`${name} (${why})`, false)
    return
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
  if (counted === 0) count(`${name} (no test ran)`, false)
  else if (ended.code !== 0 && sums.failed === 0) count(`${name} (ended with ${ended.code})`, false)
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
  await vitest('unit tests', UNIT_TIMEOUT_MS, [], env)
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
  const leftMs = (budgetS - elapsedS()) * 1000
  if (leftMs <= 0) {
    leftOut.push(file)
    return
  }
  const timeoutMs = isFull(file) ? FULL_TIMEOUT_MS : JOURNEY_TIMEOUT_MS
  const args = file.endsWith('.spec.ts') ? ['--config', 'e2e/journeys/vitest.config.ts', file] : [file]
  const late = leftMs < timeoutMs ? 'is left out' : 'fails'
  await vitest(file, Math.min(timeoutMs, leftMs), args, isFull(file) ? { ...env, SATPATCH_FULL: '1' } : env, {
    onLine,
    late,
  })
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
for (const name of failures) say(`✗ ${name}`)
const skipped = sums.skipped > 0 ? `, ${sums.skipped} skipped` : ''
say(`${elapsedS()} s\n`)
say(`${sums.passed} passed, ${sums.failed} failed${skipped}`)
process.exitCode = sums.failed === 0 ? 0 : 1
