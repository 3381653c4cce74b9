/** Contenders as processes: starts them, waits for what they tell, and sees to it that none is left over. */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import type { Detail, Order, Told, Usage } from './child.ts'
import { DEVICE_FLAGS, NODE_FLAGS } from '../../device/node-settings.mjs'

export class BenchError extends Error {
  override readonly name = 'BenchError'
}

export interface Child {
  readonly name: string
  readonly pid: number
  /** The first `event` it tells, now or before. */
  next(event: string, timeoutMs: number): Promise<Told>
  /** What the program answers to `what`, with what it has used so far; waited for 20 s where nothing is said. */
  ask(what: string, detail?: Detail, timeoutMs?: number): Promise<Told>
  usage(): Promise<Usage>
  stop(): Promise<void>
}

export type ChildOptions = Readonly<{
  /** A file in `children/`. */
  program: string
  config: unknown
  name?: string
  /** CPU profiles go here. */
  profileDir?: string | undefined
}>

const ANSWER_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 15_000
const KEPT_CHARS = 8_000

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

export function startChild(options: ChildOptions): Child {
  const { program, config, profileDir } = options
  const name = options.name ?? program.replace(/\.ts$/, '')
  if (profileDir !== undefined) mkdirSync(profileDir, { recursive: true })
  const child = fork(path.join(import.meta.dirname, 'children', program), [], {
    execArgv: [
      ...NODE_FLAGS,
      ...(profileDir === undefined
        ? []
        : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`, `--cpu-prof-name=${name}-${Date.now()}.cpuprofile`]),
      ...(program === 'buyer.ts' ? DEVICE_FLAGS : []),
    ],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  running.add(child)
  let words = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      words = (words + chunk).slice(-KEPT_CHARS)
      if (process.env['BENCH_LOG'] !== undefined) process.stderr.write(`${name}: ${chunk}`)
    })
  const told: Told[] = []
  let ended: string | undefined
  const watchers = new Set<() => void>()
  const look = (): void => {
    for (const watch of [...watchers]) watch()
  }
  child.on('message', (message: Told) => {
    told.push(message)
    if (message.event === 'failed') ended = String(message.detail['message'])
    look()
  })
  const exited = new Promise<void>((done) =>
    child.once('exit', (code, signal) => {
      running.delete(child)
      ended ??= `it ended with ${code ?? signal ?? 'an unknown status'}`
      look()
      done()
    }),
  )
  const order = (what: Order): void => {
    if (child.connected) child.send(what)
  }
  /** The first told from `from` on that fits. */
  const wait = (event: string, timeoutMs: number, from: number): Promise<Told> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer)
        watchers.delete(watch)
        act()
      }
      const fail = (why: string): void =>
        settle(() => reject(new BenchError(`${name}: ${why} while waiting for "${event}".\n${words}`)))
      const watch = (): void => {
        const found = told.slice(from).find((one) => one.event === event)
        if (found !== undefined) return settle(() => resolve(found))
        if (ended !== undefined) fail(ended)
      }
      const timer = setTimeout(() => fail(`${timeoutMs / 1000} s have passed`), timeoutMs)
      watchers.add(watch)
      watch()
    })
  const ask: Child['ask'] = (what, detail = {}, timeoutMs = ANSWER_TIMEOUT_MS) => {
    const from = told.length
    order({ tag: 'ask', what, detail })
    return wait(what, timeoutMs, from)
  }
  order({ tag: 'start', config })
  return {
    name,
    pid: child.pid ?? -1,
    next: (event, timeoutMs) => wait(event, timeoutMs, 0),
    ask,
    usage: async () => (await ask('usage')).usage,
    async stop() {
      order({ tag: 'stop' })
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(late)
    },
  }
}
