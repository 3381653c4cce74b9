/** Runs a program to its end with its output kept, for checks and tests. */
import { spawn } from 'node:child_process'
import path from 'node:path'

export const root = path.resolve(import.meta.dirname, '../..')

/** How a program ended. `code` is -1 when it did not start, was killed or ran out of time. */
export type Ended = Readonly<{ code: number; output: string; ms: number; timedOut: boolean }>

export type RunOptions = Readonly<{
  timeoutMs: number
  env?: NodeJS.ProcessEnv
  onLine?: (line: string) => void
}>

/** The last bytes of output kept of one program. */
const KEPT_OUTPUT = 400_000

/** Runs `command args…` in the root of the project; stdout and stderr end up in one text. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const started = performance.now()
  return new Promise((resolve) => {
    // Its own process group: what it started ends with it when time is up.
    const child = spawn(command, args, {
      cwd: root,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    let output = ''
    let rest = ''
    let timedOut = false
    const take = (chunk: string): void => {
      output = (output + chunk).slice(-KEPT_OUTPUT)
      if (options.onLine === undefined) return
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      lines.forEach(options.onLine)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    const killGroup = (): void => {
      if (child.pid === undefined) return
      try {
        process.kill(-child.pid, 'SIGKILL')
      } catch {
        // Already gone.
      }
    }
    process.once('exit', killGroup)
    const timer = setTimeout(() => {
      timedOut = true
      killGroup()
    }, options.timeoutMs)
    const end = (code: number): void => {
      clearTimeout(timer)
      process.removeListener('exit', killGroup)
      if (rest !== '') options.onLine?.(rest)
      resolve({ code, output, ms: Math.round(performance.now() - started), timedOut })
    }
    child.once('error', (error) => {
      output += `${command}: ${error.message}`
      end(-1)
    })
    child.once('close', (code) => end(code ?? -1))
  })
}

/** A tool of node_modules on the Node that runs us: `tool('vite', 'build')`. */
export const tool = (name: string, ...args: string[]): [string, string[]] => [
  process.execPath,
  ['--disable-warning=ExperimentalWarning', path.join(root, 'node_modules', '.bin', name), ...args],
]
