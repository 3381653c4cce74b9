/** Child processes for the demo and the journeys: logs kept, waits bounded, nothing left behind. */
import { spawn, type ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { DEVICE_FLAGS, NODE_FLAGS } from '../../device/node-settings.mjs'
import { root } from './run.ts'

/** Lines of a process kept in memory; the file has all of them. */
const KEPT_LINES = 200
const STOP_TIMEOUT_MS = 8_000

export interface Program {
  readonly name: string
  readonly pid: number
  /** Everything it said, on disk. */
  readonly logFile: string
  /** The last lines it said, oldest first. */
  tail(lines?: number): string
  /** Resolves with the first stdout line, past or to come, for which `pick` gives something. */
  line<T>(what: string, timeoutMs: number, pick: (line: string) => T | undefined): Promise<T>
  readonly exited: Promise<number>
  /** -1 for a signal; undefined while it runs. */
  exitCode(): number | undefined
  /** SIGTERM, and SIGKILL when it does not obey. */
  stop(): Promise<void>
  kill(signal: NodeJS.Signals): void
}

export interface Programs {
  /** Runs `device/main.ts ARGS…` as its own process. */
  satpatch(name: string, args: readonly string[], env?: Readonly<Record<string, string>>): Program
  /** Runs another program. */
  other(name: string, command: string, args: readonly string[]): Program
  readonly all: readonly Program[]
  stopAll(): Promise<void>
}

/** A wait that ended without what it waited for; the message has the tail of the log. */
export class ProgramError extends Error {
  override readonly name = 'ProgramError'
}

export function createPrograms(logDir: string): Programs {
  fs.mkdirSync(logDir, { recursive: true })
  const all: Program[] = []
  const running = new Set<ChildProcess>()
  // Whatever ends this process ends its children.
  process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))
  const begin = (name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv): Program => {
    const program = start(name, [command, ...args], env, logDir, running)
    all.push(program)
    return program
  }
  return {
    all,
    satpatch(name, args, env = {}) {
      const flags = args[0] === 'device' ? [...NODE_FLAGS, ...DEVICE_FLAGS] : NODE_FLAGS
      return begin(name, process.execPath, [...flags, path.join(root, 'device/main.ts'), ...args], env)
    },
    other: (name, command, args) => begin(name, command, args, {}),
    async stopAll() {
      await Promise.all(all.toReversed().map((program) => program.stop()))
    },
  }
}

function start(
  name: string,
  [command = '', ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
  logDir: string,
  running: Set<ChildProcess>,
): Program {
  const logFile = path.join(logDir, `${name.replaceAll(/[^\w.-]+/g, '-')}.log`)
  const log = fs.createWriteStream(logFile, { flags: 'a' })
  // A session of its own: Ctrl-C in the terminal reaches us alone, and we stop the children in order.
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  running.add(child)
  const kept: string[] = []
  const stdout: string[] = []
  const watchers = new Set<() => void>()
  const take = (into: readonly string[][]) => {
    let rest = ''
    return (chunk: string): void => {
      log.write(chunk)
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines)
        for (const list of into) {
          list.push(line)
          if (list.length > KEPT_LINES) list.shift()
        }
      for (const look of [...watchers]) look()
    }
  }
  child.stdout.setEncoding('utf8').on('data', take([kept, stdout]))
  child.stderr.setEncoding('utf8').on('data', take([kept]))
  let code: number | undefined
  const exited = new Promise<number>((resolve) => {
    const end = (status: number): void => {
      if (code !== undefined) return
      code = status
      running.delete(child)
      log.end()
      resolve(status)
      for (const look of [...watchers]) look()
    }
    child.once('error', (error) => {
      kept.push(error.message)
      end(-1)
    })
    child.once('close', (status) => end(status ?? -1))
  })
  const tail = (lines = 20): string => kept.slice(-lines).join('\n')
  const kill = (signal: NodeJS.Signals): void => {
    if (code === undefined) child.kill(signal)
  }
  return {
    name,
    pid: child.pid ?? -1,
    logFile,
    tail,
    exited,
    exitCode: () => code,
    kill,
    line(what, timeoutMs, pick) {
      return new Promise((resolve, reject) => {
        const settle = (act: () => void): void => {
          clearTimeout(timer)
          watchers.delete(look)
          act()
        }
        const fail = (why: string): void =>
          settle(() => reject(new ProgramError(`${name}: ${why} while waiting for ${what}.\n${tail()}`)))
        const look = (): void => {
          for (const line of stdout) {
            const found = pick(line)
            if (found !== undefined) return settle(() => resolve(found))
          }
          if (code !== undefined) fail(`ended with ${code}`)
        }
        const timer = setTimeout(() => fail(`${timeoutMs / 1000} s have passed`), timeoutMs)
        watchers.add(look)
        look()
      })
    },
    async stop() {
      if (code !== undefined) return
      child.kill('SIGTERM')
      const late = delay(STOP_TIMEOUT_MS, 'late' as const, { ref: false })
      if ((await Promise.race([exited, late])) === 'late') child.kill('SIGKILL')
      await exited
    },
  }
}

/** Waits until `look` gives something, asked again every `everyMs`; `what` and `detail` explain a failure. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  look: () => T | undefined | Promise<T | undefined>,
  detail: () => string = () => '',
  everyMs = 100,
): Promise<T> {
  const end = performance.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > end)
      throw new ProgramError(`${timeoutMs / 1000} s have passed while waiting for ${what}.\n${detail()}`)
    await delay(everyMs)
  }
}
