/**
 * What this device refused, each by the attack's name: in the log at once, in a file over restarts, and with every
 * PROGRESS to the vendor. One row an attack and origin: however often it is tried, the file stays small.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { MAX_REFUSED, refusedSchema, type Refused } from '../../web/core/rollout/messages.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import type { Logger } from '../log.ts'
import { writeDurably } from '../storage/durable.ts'

export interface RefusedBook extends Live<readonly Refused[]> {
  /** `attack` is its name, `from` who tried it: a mirror's address, a key. Never fails. */
  note(attack: string, from: string, text: string): void
  /** Resolves when the disk knows what is known. */
  idle(): Promise<void>
}

/** An attacker decides how often this is called, and must not wear out a flash disk. */
const WRITE_EVERY_MS = 30_000
/** New rows that are written at once; names and origins are an attacker's choice too. */
const WRITE_BURST = 10
/** Lines in the log at once, and how soon there may be one more; what is not said is counted all the same. */
const LOG_BURST = 30
export const LOG_EVERY_MS = 2000

export const refusedFile = (dataDir: string): string => join(dataDir, 'refused.json')
const fileSchema = v.pipe(v.string(), v.parseJson(), v.pipe(v.array(refusedSchema), v.maxLength(MAX_REFUSED)))

/** Newest first. A file that cannot be read is none: this is a record for people, and decides nothing. */
export async function readRefused(dataDir: string): Promise<readonly Refused[]> {
  try {
    return v.parse(fileSchema, await readFile(refusedFile(dataDir), 'utf8'))
  } catch {
    return []
  }
}

/** The list with one more: of an attack from the same origin again, or the oldest makes room. */
export function withRefused(
  rows: readonly Refused[],
  { attack, from, text }: Readonly<{ attack: string; from: string; text: string }>,
  at: number,
): readonly Refused[] {
  const name = attack.slice(0, 40)
  const origin = from.slice(0, 120)
  const before = rows.find((row) => row.attack === name && row.from === origin)
  const row: Refused = {
    attack: name,
    from: origin,
    text: text.slice(0, 300),
    count: (before?.count ?? 0) + 1,
    firstAt: before?.firstAt ?? at,
    lastAt: at,
  }
  return [row, ...rows.filter((one) => one !== before)].slice(0, MAX_REFUSED)
}

export async function openRefused(
  deps: Readonly<{ dataDir: string; nowMs: () => number; log: Logger; write?: typeof writeDurably }>,
): Promise<RefusedBook> {
  const { write: toDisk = writeDurably } = deps
  const cell = liveCell(await readRefused(deps.dataDir))
  let writing: Promise<void> = Promise.resolve()
  let writtenAtMs = -Infinity
  let dirty = false
  const mayLog = sparing(LOG_BURST, LOG_EVERY_MS, deps.nowMs)
  const mayWrite = sparing(WRITE_BURST, WRITE_EVERY_MS, deps.nowMs)

  function write(): void {
    dirty = false
    writtenAtMs = deps.nowMs()
    writing = writing
      .then(() => toDisk(refusedFile(deps.dataDir), JSON.stringify(cell.get())))
      .catch((error: unknown) => deps.log.warn({ err: error }, 'what was refused could not be written down'))
  }

  return {
    get: cell.get,
    subscribe: cell.subscribe,
    note(attack, from, text) {
      const known = cell.get().length
      const next = withRefused(cell.get(), { attack, from, text }, Math.max(0, deps.nowMs()))
      const isNew = next[0]?.count === 1 || next.length !== known
      if (mayLog()) deps.log.warn({ attack, from }, `refused, ${attack}: ${text}`)
      cell.set(next)
      dirty = true
      const isDue = Math.abs(deps.nowMs() - writtenAtMs) >= WRITE_EVERY_MS
      if (isDue || (isNew && mayWrite())) write()
    },
    async idle() {
      if (dirty) write()
      await writing
    },
  }
}

/** True `burst` times at once, and then once in `everyMs`. */
function sparing(burst: number, everyMs: number, nowMs: () => number): () => boolean {
  let left = burst
  let atMs = nowMs()
  return () => {
    left = Math.min(burst, left + Math.max(0, nowMs() - atMs) / everyMs)
    atMs = nowMs()
    if (left < 1) return false
    left--
    return true
  }
}
