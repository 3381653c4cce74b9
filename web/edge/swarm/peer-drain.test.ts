import { EventEmitter } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Wire } from '#webtorrent'
import { Peer, type PeerContext } from './peer.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

/** A wire that never gets rid of what it is given. */
class FullWire extends EventEmitter {
  destroyed = false
  _readableState = { buffered: 100 * 1024 * 1024 }
  interested(): void {}
  use(): void {}
  destroy(): void {
    this.destroyed = true
  }
}

test('a peer that does not read is dropped after a minute; one that reads in time is kept', async () => {
  const whys: unknown[] = []
  const nothing = (): void => undefined
  const context = {
    connectionOf: nothing,
    pieces: 1,
    events: { gone: nothing, log: (_: string, { why }: { why?: unknown }) => void whys.push(why) },
  } as unknown as PeerContext
  const open = () => {
    const wire = new FullWire()
    return { wire, peer: new Peer(wire as unknown as Wire, context) }
  }
  const slow = open()
  // The time for its proof is not what is tested here.
  vi.clearAllTimers()
  const drained = slow.peer.drained()
  await vi.advanceTimersByTimeAsync(59_000)
  expect(slow.wire.destroyed).toBe(false)
  slow.wire._readableState.buffered = 0
  await vi.advanceTimersByTimeAsync(10)
  await drained
  await vi.advanceTimersByTimeAsync(60_000)
  expect(slow.wire.destroyed).toBe(false)

  slow.wire._readableState.buffered = 100 * 1024 * 1024
  const never = slow.peer.drained()
  await vi.advanceTimersByTimeAsync(60_100)
  await never
  expect(slow.wire.destroyed).toBe(true)
  expect(whys).toEqual(['does not read what it asked for'])
})
