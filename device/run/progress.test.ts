import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { publicKey, type NostrEvent, type SecretKey } from '../../web/core/nostr/event.ts'
import type { Bytes } from '../../web/core/bytes.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Ports } from './ports.ts'
import { createProgressTeller, type ProgressDeps, type ProgressTeller } from './progress.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

/** A device whose process may start again; a relay keeps what is dated last. */
function board() {
  const sent: NostrEvent[] = []
  const secret = new Uint8Array(32).fill(1) as SecretKey
  const vendorKey = publicKey(new Uint8Array(32).fill(2) as SecretKey)
  let [seq, balance] = [0, 0]
  const deps = {
    config: { name: 'board', hardware: 'pi', vendor: 'ab', identity: { secret } } as unknown as DeviceConfig,
    ports: {
      nowMs: Date.now,
      randomBytes: (length: number) => new Uint8Array(length) as Bytes,
    } as unknown as Ports,
    pool: { publish: (event: NostrEvent) => (sent.push(event), Promise.resolve()) },
    keeper: { get: () => ({ seq }), update: () => Promise.resolve(void (seq += 1000)) },
    vendorKey: () => vendorKey,
    describe: () => Promise.resolve({ state: 'idle', balanceMsat: ++balance }),
    log: pino({ level: 'silent' }),
  } as unknown as ProgressDeps
  return { sent, start: (): ProgressTeller => createProgressTeller(deps) }
}

test('what is said last is dated last, also after many changes at once and a start right after them', async () => {
  const { sent, start } = board()
  const busy = start()
  for (let i = 0; i < 40; i++) {
    busy.poke(true)
    await vi.advanceTimersByTimeAsync(50)
  }
  const before = sent.length
  await busy.stop()
  // A process takes its time to start.
  await vi.advanceTimersByTimeAsync(1000)
  const again = start()
  again.poke(true)
  await vi.advanceTimersByTimeAsync(1000)
  await again.stop()
  expect(before).toBeGreaterThan(0)
  expect(sent.length).toBe(before + 1)
  const dates = sent.map(({ created_at }) => created_at)
  expect(dates).toEqual([...new Set(dates)].sort((a, b) => a - b))
  expect(dates.at(-1)).toBeLessThanOrEqual(Date.now() / 1000)
})
