/**
 * The child's end of a contender: a process of its own that gets one configuration, tells what happens with the time and
 * what it has used so far, and ends when it is told to. The parent's end is `children.ts`.
 */
import { readFileSync } from 'node:fs'

/** What a process has used since it started. */
export type Usage = Readonly<{
  /** User and system time of all its threads, seconds. */
  cpuS: number
  /** Highest resident memory, MiB (VmHWM). */
  peakMiB: number
}>
/** `atMs`: Unix time, with fractions. */
export type Detail = Readonly<Record<string, unknown>>
export type Told = Readonly<{
  event: string
  atMs: number
  usage: Usage
  detail: Readonly<Record<string, unknown>>
}>
export type Order = Readonly<
  { tag: 'start'; config: unknown } | { tag: 'ask'; what: string; detail: Detail } | { tag: 'stop' }
>

export const nowMs = (): number => performance.timeOrigin + performance.now()

export function usage(): Usage {
  const { user, system } = process.cpuUsage()
  const peak = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))
  return { cpuS: (user + system) / 1e6, peakMiB: Number(peak?.[1] ?? 0) / 1024 }
}

export type Tell = (event: string, detail?: Readonly<Record<string, unknown>>, atMs?: number) => void

export type Running = Readonly<{
  stop(): Promise<void>
  /** What the parent may ask for, by name; what a process has used needs no answer of its own. */
  answers?: Readonly<Record<string, (detail: Detail) => Detail | Promise<Detail>>>
}>

/** Runs `main` with the configuration until the parent says stop. */
export function child<Config>(main: (config: Config, tell: Tell) => Promise<Running>): void {
  const tell: Tell = (event, detail = {}, atMs = nowMs()) =>
    void process.send?.({ event, atMs, usage: usage(), detail } satisfies Told)
  let running: Promise<Running> | undefined
  const end = async (): Promise<void> => {
    try {
      await (await running)?.stop()
    } finally {
      tell('stopped')
      process.disconnect()
      // Sockets and timers of libraries would hold the process; a profile is written on exit.
      process.exit()
    }
  }
  process.on('message', (order: Order) => {
    switch (order.tag) {
      case 'start':
        running = main(order.config as Config, tell)
        running.catch((error: unknown) => {
          tell('failed', { message: error instanceof Error ? (error.stack ?? error.message) : String(error) })
        })
        return
      case 'ask': {
        const { what, detail } = order
        running
          ?.then(async ({ answers }) => tell(what, await answers?.[what]?.(detail)))
          .catch((error: unknown) => tell('failed', { message: String(error) }))
        return
      }
      case 'stop':
        return void end()
      default:
        return order satisfies never
    }
  })
  process.on('disconnect', () => process.exit())
}
