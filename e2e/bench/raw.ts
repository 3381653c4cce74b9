/** A bare data channel between two Node processes: what WebRTC gives here when nothing else is done. */
import { MIB, type Context } from './bench.ts'
import { startChild } from './children.ts'
import type { RawConfig } from './children/raw.ts'
import { READY_MS } from './contest.ts'
import { figure } from './table.ts'

const TIMEOUT_MS = 120_000
const SIZES = [16, 64, 256].map((kib) => kib * 1024)
const PILOT_BYTES = 64 * MIB

/** Milliseconds from the open channel to the last byte. */
export async function rawTransfer(bytes: number, messageBytes: number): Promise<number> {
  const config = (sends: boolean): RawConfig => ({ sends, bytes, messageBytes })
  const [sender, receiver] = [true, false].map((sends) =>
    startChild({
      program: 'raw.ts',
      name: sends ? 'raw-sender' : 'raw-receiver',
      config: config(sends),
    }),
  ) as [ReturnType<typeof startChild>, ReturnType<typeof startChild>]
  try {
    const offer = await sender.ask('describe')
    const answer = await receiver.ask('take', offer.detail)
    await sender.ask('take', answer.detail)
    const start = await receiver.next('connected', READY_MS)
    const done = await receiver.next('done', TIMEOUT_MS)
    return done.atMs - start.atMs
  } finally {
    await Promise.all([sender.stop(), receiver.stop()])
  }
}

/** The message size that a raw channel is fastest with. */
export async function bestMessageSize(context: Context): Promise<number> {
  let best = { size: 0, ms: Infinity }
  for (const size of SIZES) {
    const ms = await rawTransfer(PILOT_BYTES, size)
    context.say(`  raw data channel, messages of ${size / 1024} KiB: ${figure(PILOT_BYTES / 1000 / ms)} MB/s`)
    if (ms < best.ms) best = { size, ms }
  }
  return best.size
}
