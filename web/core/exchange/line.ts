/**
 * A seller's line: whose window is made ready, and which ones go out. A window is on the line until its taker says that it
 * has all of it: the buffers below swallow windows whole, and whatever lies in them shares the uplink. So what is asked for
 * meanwhile waits, and there is a choice whose turn it is (`turn.ts`); how many go at once says `uplink.ts`. One more than
 * that is in memory, made ready. A taker that is alone has its windows one behind the other without waiting.
 *
 * A taker that is slow keeps nobody waiting: once a window takes too long its taker's windows do not count, one at a time,
 * until one is taken in good time. Where memory is short the one that has been going longest is given up.
 *
 * A window takes its way by `asked`, `ready`, `out` and `over`; the caller does the effects, keeps the clock and ticks.
 */
import { MIB } from '../money/msat.ts'
import type { PeerId } from './desk-state.ts'
import { openPace, startSlice, taken, type Pace } from './pace.ts'
import { whoseTurn, type Waiting } from './turn.ts'
import { openUplink, sent, started, type Uplink } from './uplink.ts'

export type LineWindow = Readonly<{
  peer: PeerId
  request: number
  pieces: readonly number[]
  bytes: number
}>

/**
 * `prepare`: make it ready; `fresh` are its pieces that go out for the first time. `send`: it goes out now.
 * `give-up`: it was going and is off the line; nothing more of it may be sent or kept.
 */
export type LineEffect =
  | Readonly<{ tag: 'prepare'; window: LineWindow; fresh: readonly number[] }>
  | Readonly<{ tag: 'send'; window: LineWindow }>
  | Readonly<{ tag: 'give-up'; window: LineWindow }>

type Place = {
  state: 'preparing' | 'ready' | 'going' | 'over'
  inMemory: boolean
  /** When it went out. */
  sinceMs: number
  /** When all of it was handed over. */
  outMs: number
  /** Its taker has all of it. */
  got: boolean
}

export type Line = {
  readonly uplink: Uplink
  readonly pace: Pace
  /** How often each piece went out. */
  readonly served: Uint32Array
  readonly waiting: (Waiting & { window: LineWindow })[]
  /** In the order of being so. */
  readonly ready: LineWindow[]
  /** Windows that are being made ready, are ready, or on the line. */
  readonly places: Map<LineWindow, Place>
  /** Takers whose last window took too long. */
  readonly slow: Set<PeerId>
}

/** Of windows in memory at once, all peers together; one is always allowed. */
const MAX_MEMORY_BYTES = 48 * MIB
/** A taker that does not say so has its window so long after the last byte was handed over: the caller ends it then. */
export const LATEST_GOT_MS = 2000
/** A window may be on the line so long, longer for each MiB after the first and where several share the line; all in all well within a buyer's patience. */
const SLOW_MS = { first: 4000, perMib: 2000, most: 10_000 } as const

export const openLine = (pieces: number, nowMs: number): Line => ({
  uplink: openUplink(nowMs),
  pace: openPace(nowMs),
  served: new Uint32Array(pieces),
  waiting: [],
  ready: [],
  places: new Map(),
  slow: new Set(),
})

export function asked(line: Line, window: LineWindow, nowMs: number): LineEffect[] {
  if (line.places.size + line.waiting.length === 0) {
    started(line.uplink, nowMs)
    startSlice(line.pace, nowMs)
  }
  line.waiting.push({ window, pieces: window.pieces, sinceMs: nowMs })
  return goOn(line, nowMs)
}

/** To be called every second or so: what takes too long shows by nothing else. */
export const tick = (line: Line, nowMs: number): LineEffect[] => goOn(line, nowMs)

export function ready(line: Line, window: LineWindow, nowMs: number): LineEffect[] {
  const place = line.places.get(window)
  if (place?.state !== 'preparing') return []
  place.state = 'ready'
  line.ready.push(window)
  return goOn(line, nowMs)
}

/** All of it is handed over, or it was given up: it is out of memory. */
export function out(line: Line, window: LineWindow, nowMs: number): LineEffect[] {
  const place = line.places.get(window)
  if (place === undefined) return []
  place.inMemory = false
  place.outMs = nowMs
  if (place.state !== 'going') remove(line, window, place)
  return goOn(line, nowMs)
}

/** Windows of the peer that it has all of. `request` undefined: it is gone. */
export function got(line: Line, peer: PeerId, request?: number): LineWindow[] {
  const found: LineWindow[] = []
  if (request === undefined) line.slow.delete(peer)
  for (const [window, place] of line.places) {
    if (window.peer !== peer || (request !== undefined && window.request !== request)) continue
    place.got = true
    if (place.state === 'going') found.push(window)
  }
  return found
}

/** Bytes a second that may be handed over now, all takers together; `undefined`: as fast as it goes. Who is alone may fill the line. */
export const paceFor = (line: Line, peer: PeerId): number | undefined =>
  line.pace.bps !== undefined && isAlone(line, peer) ? undefined : line.pace.bps

export const hasGot = (line: Line, window: LineWindow): boolean => line.places.get(window)?.got ?? true

/** It is off the line. `brought`: all of it went out. */
export function over(line: Line, window: LineWindow, brought: boolean, nowMs: number): LineEffect[] {
  const place = line.places.get(window)
  if (place?.state !== 'going') return []
  // What a slow taker took says nothing about the line.
  if (!line.slow.has(window.peer)) {
    const full = line.ready.length + line.waiting.length > 0 && countGoing(line) >= line.uplink.parallel
    sent(line.uplink, brought ? window.bytes : 0, full, nowMs, line.pace.bps)
    const outMs = place.inMemory ? nowMs : place.outMs
    if (brought) taken(line.pace, { bytes: window.bytes, goingMs: place.sinceMs, outMs }, full, nowMs)
  } else if (brought && !tookTooLong(line, window, place, nowMs)) line.slow.delete(window.peer)
  place.state = 'over'
  if (!brought) count(line, window, -1)
  if (!place.inMemory) line.places.delete(window)
  return goOn(line, nowMs)
}

/** What was never sent did not go out. */
function remove(line: Line, window: LineWindow, { state }: Place): void {
  line.places.delete(window)
  if (state === 'over') return
  count(line, window, -1)
  const at = line.ready.indexOf(window)
  if (at >= 0) line.ready.splice(at, 1)
}

function count(line: Line, { pieces }: LineWindow, by: 1 | -1): void {
  for (const piece of pieces) line.served[piece] = (line.served[piece] ?? 0) + by
}

function goOn(line: Line, nowMs: number): LineEffect[] {
  for (const [window, place] of line.places)
    if (place.state === 'going' && !place.got && tookTooLong(line, window, place, nowMs))
      line.slow.add(window.peer)
  const effects: LineEffect[] = []
  for (const window of [...line.ready]) {
    const place = line.places.get(window)
    if (place === undefined || !mayGo(line, window)) continue
    line.ready.splice(line.ready.indexOf(window), 1)
    place.state = 'going'
    place.sinceMs = nowMs
    effects.push({ tag: 'send', window })
  }
  for (;;) {
    const able = line.waiting.filter(({ window }) => hasTurn(line, window))
    const next = able[whoseTurn(able, line.served, nowMs)]
    if (next === undefined) return effects
    const { window } = next
    if (!hasMemory(line, window)) {
      const slowest = line.slow.has(window.peer) ? undefined : giveUp(line)
      if (slowest === undefined) return effects
      effects.push({ tag: 'give-up', window: slowest })
      continue
    }
    line.waiting.splice(line.waiting.indexOf(next), 1)
    line.places.set(window, { state: 'preparing', inMemory: true, sinceMs: nowMs, outMs: nowMs, got: false })
    const fresh = window.pieces.filter((piece) => line.served[piece] === 0)
    count(line, window, 1)
    effects.push({ tag: 'prepare', window, fresh })
  }
}

function tookTooLong(line: Line, { bytes }: LineWindow, { sinceMs }: Place, nowMs: number): boolean {
  const { first, perMib, most } = SLOW_MS
  const aloneMs = first + Math.max(0, bytes / MIB - 1) * perMib
  return nowMs - sinceMs >= Math.min(most, aloneMs * line.uplink.parallel)
}

const mayGo = (line: Line, { peer }: LineWindow): boolean =>
  line.slow.has(peer) || countGoing(line) < line.uplink.parallel || isAlone(line, peer)

/** Whether it may be made ready as far as others are concerned. */
function hasTurn(line: Line, { peer }: LineWindow): boolean {
  const slow = line.slow.has(peer)
  const alone = isAlone(line, peer)
  let begun = 0
  for (const [window, { inMemory }] of line.places) {
    if (slow && window.peer === peer) return false
    if (!line.slow.has(window.peer) && (inMemory || !alone)) begun++
  }
  return slow || begun <= line.uplink.parallel
}

function hasMemory(line: Line, { bytes }: LineWindow): boolean {
  let held = 0
  for (const [window, { inMemory }] of line.places) if (inMemory) held += window.bytes
  return held === 0 || held + bytes <= MAX_MEMORY_BYTES
}

/** Of a slow taker, the one that has been going longest. */
function giveUp(line: Line): LineWindow | undefined {
  let slowest: [LineWindow, Place] | undefined
  for (const [window, place] of line.places) {
    if (place.state !== 'going' || !place.inMemory || !line.slow.has(window.peer)) continue
    if (slowest === undefined || place.sinceMs < slowest[1].sinceMs) slowest = [window, place]
  }
  if (slowest === undefined) return undefined
  remove(line, ...slowest)
  return slowest[0]
}

function countGoing(line: Line): number {
  let going = 0
  for (const [{ peer }, { state }] of line.places) if (state === 'going' && !line.slow.has(peer)) going++
  return going
}

/** Nobody else is served or waits, but slow takers. */
function isAlone(line: Line, peer: PeerId): boolean {
  const isOther = (window: LineWindow): boolean => window.peer !== peer && !line.slow.has(window.peer)
  for (const window of line.places.keys()) if (isOther(window)) return false
  return !line.waiting.some(({ window }) => isOther(window))
}
