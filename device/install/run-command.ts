/** Runs one of the owner's commands with a time limit; its output's tail is kept for the log and the report. */
import { spawn } from 'node:child_process'
import { MAX_TIMER_MS } from '../run/timer.ts'

/** Last bytes of output kept. */
export const MAX_OUTPUT_BYTES = 4096
/** From SIGTERM to SIGKILL. */
const GRACE_MS = 2000

export type CommandResult =
  { tag: 'ok'; output: string } | { tag: 'failed'; how: string; output: string } | { tag: 'stopped' }

export type CommandOptions = Readonly<{
  env: Readonly<Record<string, string>>
  cwd: string
  timeoutMs: number
  signal: AbortSignal
  /** Open file that the command gets as descriptor 3. */
  fd?: number
}>

/** Nothing of ours that is secret reaches a command through its environment. */
const ownerEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SATPATCH_')))

/** `command` goes to the shell as the owner wrote it; values reach it in the environment only, never in its text. */
export function runCommand(command: string, options: CommandOptions): Promise<CommandResult> {
  if (options.signal.aborted) return Promise.resolve({ tag: 'stopped' })
  return new Promise((resolve) => {
    // A process group of its own, so that the time limit also reaches what the command starts.
    const child = spawn(command, {
      shell: true,
      cwd: options.cwd,
      env: { ...ownerEnvironment(), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', ...(options.fd === undefined ? [] : [options.fd])],
      detached: true,
    })
    let tail = Buffer.alloc(0)
    const keep = (chunk: Buffer): void => {
      const all = Buffer.concat([tail, chunk])
      tail = Buffer.from(all.subarray(Math.max(0, all.length - MAX_OUTPUT_BYTES)))
    }
    const { stdout, stderr } = child
    stdout?.on('data', keep)
    stderr?.on('data', keep)

    let ended: 'timeout' | 'stopped' | undefined
    let killer: ReturnType<typeof setTimeout> | undefined
    const killGroup = (signal: NodeJS.Signals): void => {
      if (child.pid === undefined) return
      try {
        process.kill(-child.pid, signal)
      } catch {
        // it has ended by itself
      }
    }
    const end = (why: 'timeout' | 'stopped'): void => {
      if (ended !== undefined) return
      ended = why
      killGroup('SIGTERM')
      killer = setTimeout(() => {
        killGroup('SIGKILL')
        // Whatever left the process group may hold the pipes open for ever.
        stdout?.destroy()
        stderr?.destroy()
      }, GRACE_MS)
    }
    const timer = setTimeout(() => end('timeout'), Math.min(options.timeoutMs, MAX_TIMER_MS))
    const onAbort = (): void => end('stopped')
    options.signal.addEventListener('abort', onAbort, { once: true })

    let done = false
    const finish = (result: CommandResult): void => {
      if (done) return
      done = true
      clearTimeout(timer)
      clearTimeout(killer)
      options.signal.removeEventListener('abort', onAbort)
      resolve(result)
    }
    const outputText = (): string => tail.toString('utf8').trim()
    child.on('error', (error) =>
      finish({ tag: 'failed', how: `could not be started: ${error.message}`, output: '' }),
    )
    child.on('exit', () => {
      // A daemon that the command left behind may keep the pipes: do not wait for their end for ever.
      if (ended === undefined) setTimeout(() => stdout?.destroy(), 200).unref()
      if (ended === undefined) setTimeout(() => stderr?.destroy(), 200).unref()
    })
    child.on('close', (code, signal) => {
      if (ended === 'stopped') return finish({ tag: 'stopped' })
      if (ended === 'timeout') {
        const how = `did not finish within ${options.timeoutMs / 1000} s`
        return finish({ tag: 'failed', how, output: outputText() })
      }
      if (code === 0) return finish({ tag: 'ok', output: outputText() })
      const how = code === null ? `was ended by ${signal ?? 'a signal'}` : `exited with code ${code}`
      finish({ tag: 'failed', how, output: outputText() })
    })
  })
}

/** What went wrong, with the last words of the command. */
export function failureText(what: string, result: { how: string; output: string }): string {
  const words = result.output.slice(-500)
  return words === '' ? `${what} ${result.how}` : `${what} ${result.how}: ${words}`
}
