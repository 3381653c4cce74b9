/** `npm run check`: types, pages, lint and format. Also the first part of `npm test`. */
import { run, tool } from './support/run.ts'

export type Check = Readonly<{ name: string; ok: boolean; output: string; ms: number }>

const CHECK_TIMEOUT_MS = 5 * 60_000
/** The compilers need a core each. */
const AT_ONCE = 2

// The slow ones first, so that they overlap.
const CHECKS: readonly (readonly [name: string, tool: string, ...args: string[]])[] = [
  ['types', 'tsc', '-p', '.'],
  ['lint', 'eslint', '.', '--max-warnings', '0'],
  ['pages', 'svelte-check', '--tsconfig', 'tsconfig.json', '--fail-on-warnings', '--output', 'human'],
  ['format', 'prettier', '--check', '--log-level', 'warn', '.'],
]

/** Runs every check, a few at a time; `onDone` hears of each as it ends. */
export async function runChecks(onDone: (check: Check) => void): Promise<readonly Check[]> {
  const waiting = [...CHECKS]
  const done: Check[] = []
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, command, ...args] = next
      const ended = await run(...tool(command, ...args), { timeoutMs: CHECK_TIMEOUT_MS })
      const note = ended.timedOut ? `\nNot done after ${CHECK_TIMEOUT_MS / 1000} s.` : ''
      const check = { name, ok: ended.code === 0, output: ended.output + note, ms: ended.ms }
      done.push(check)
      onDone(check)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return done
}

/** One line per check, and what a failed one said. */
export function show(check: Check): void {
  console.log(`${check.ok ? '✓' : '✗'} ${check.name} (${(check.ms / 1000).toFixed(1)} s)`)
  if (!check.ok) console.log(check.output.trimEnd())
}

if (import.meta.main) {
  const checks = await runChecks(show)
  process.exitCode = checks.every((check) => check.ok) ? 0 : 1
}
