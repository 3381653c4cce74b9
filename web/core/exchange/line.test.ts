import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  asked,
  got,
  hasGot,
  openLine,
  out,
  over,
  paceFor,
  ready,
  tick,
  type LineEffect,
  type LineWindow,
} from './line.ts'
import { MAX_PARALLEL } from './uplink.ts'

const MIB = 1024 * 1024

/** A line of one window at a time whose windows are ready at once, and go out at once; they are off the line when they are said to be taken. */
function openScene() {
  const line = openLine(8, 0)
  line.uplink.parallel = 1
  const sent: string[] = []
  let latest = new Map<string, LineWindow>()
  const run = (effects: readonly LineEffect[]): void => {
    for (const { tag, window } of effects) {
      if (tag === 'prepare') run(ready(line, window, 0))
      else {
        sent.push(nameOf(window))
        run(out(line, window, 0))
      }
    }
  }
  return {
    line,
    sent,
    ask(name: string, ...pieces: number[]) {
      const window = { peer: name.slice(0, 1), request: Number(name.slice(1)), pieces, bytes: MIB }
      latest = latest.set(name, window)
      run(asked(line, window, 0))
    },
    takes(name: string) {
      const window = latest.get(name)
      if (window === undefined) throw new Error(`nobody asked for ${name}`)
      for (const one of got(line, window.peer, window.request)) run(over(line, one, true, 0))
    },
  }
}
const nameOf = ({ peer, request }: LineWindow): string => `${peer}${request}`

test('one window after the other, each when the taker of the one before has all of it', () => {
  const { ask, takes, sent } = openScene()
  for (const name of ['a1', 'b1', 'c1']) ask(name, 0)
  expect(sent).toEqual(['a1'])
  takes('a1')
  expect(sent).toEqual(['a1', 'b1'])
  takes('b1')
  expect(sent).toEqual(['a1', 'b1', 'c1'])
})

test('the line is not free because nobody waited when the last byte was handed over', () => {
  const { ask, takes, sent } = openScene()
  ask('a1', 0)
  ask('b1', 1)
  expect(sent).toEqual(['a1'])
  takes('a1')
  expect(sent).toEqual(['a1', 'b1'])
})

test('whose pieces went out least is made ready next', () => {
  const { ask, takes, sent } = openScene()
  for (const [i, pieces] of [[0], [1], [0, 1], [2], [0]].entries()) ask(`${'abcde'[i]}1`, ...pieces)
  for (const name of ['a1', 'b1', 'd1', 'c1']) takes(name)
  expect(sent).toEqual(['a1', 'b1', 'd1', 'c1', 'e1'])
})

test('who is alone has its next window at once; who comes then waits until it has them all', () => {
  const { ask, takes, sent } = openScene()
  ask('a1', 0)
  ask('a2', 1)
  ask('b1', 2)
  ask('a3', 3)
  takes('a1')
  expect(sent).toEqual(['a1', 'a2'])
  takes('a2')
  expect(sent).toEqual(['a1', 'a2', 'b1'])
})

test('what was given up before it went out does not count as sent', () => {
  const line = openLine(8, 0)
  const [going, given] = [0, 1].map((piece) => ({
    peer: `${piece}`,
    request: 1,
    pieces: [piece],
    bytes: MIB,
  }))
  if (going === undefined || given === undefined) throw new Error('unreachable')
  asked(line, going, 0)
  ready(line, going, 0)
  asked(line, given, 0)
  expect([...line.served.slice(0, 2)]).toEqual([1, 1])
  out(line, given, 0)
  expect([...line.served.slice(0, 2)]).toEqual([1, 0])
  out(line, going, 0)
  over(line, going, false, 0)
  expect([...line.served.slice(0, 2)]).toEqual([0, 0])
  expect(line.places.size).toBe(0)
})

/** Windows that go out when they are ready; what of them is handed over says the test. */
function openSlowScene(bytes: number) {
  const line = openLine(8, 0)
  line.uplink.parallel = 1
  const seen: string[] = []
  const windows = new Map<string, LineWindow>()
  const run = (effects: readonly LineEffect[], nowMs: number): void => {
    for (const { tag, window } of effects) {
      if (tag === 'prepare') run(ready(line, window, nowMs), nowMs)
      else seen.push(tag === 'send' ? nameOf(window) : `${nameOf(window)} given up`)
    }
  }
  const at = (name: string): LineWindow => {
    const window = windows.get(name)
    if (window === undefined) throw new Error(`nobody asked for ${name}`)
    return window
  }
  return {
    line,
    seen,
    at,
    ask(name: string, nowMs: number) {
      windows.set(name, { peer: name.slice(0, 1), request: Number(name.slice(1)), pieces: [0], bytes })
      run(asked(line, at(name), nowMs), nowMs)
    },
    tick: (nowMs: number) => run(tick(line, nowMs), nowMs),
    taken(name: string, nowMs: number) {
      run(out(line, at(name), nowMs), nowMs)
      run(over(line, at(name), true, nowMs), nowMs)
    },
  }
}

test('a slow taker keeps nobody waiting: others go out beside it, and its next one goes beside theirs', () => {
  const { ask, tick, taken, seen, line } = openSlowScene(MIB)
  for (const name of ['a1', 'b1', 'c1', 'a2']) ask(name, 0)
  tick(3999)
  expect(seen).toEqual(['a1'])
  tick(4000)
  expect(seen).toEqual(['a1', 'b1'])
  taken('b1', 5000)
  expect(seen).toEqual(['a1', 'b1', 'c1'])
  taken('a1', 6000)
  expect(seen).toEqual(['a1', 'b1', 'c1', 'a2'])
  expect(line.uplink).toMatchObject({ windows: 1, bytes: MIB })
  expect(line.slow.size).toBe(1)
  taken('a2', 7000)
  expect(line.slow.size).toBe(0)
})

test('however many are slow, a quick one is served within a buyer’s patience', () => {
  const { ask, tick, seen } = openSlowScene(MIB)
  for (const name of ['a1', 'b1', 'c1', 'd1', 'e1']) ask(name, 0)
  for (let nowMs = 0; nowMs <= 16_000; nowMs += 1000) tick(nowMs)
  expect(seen).toHaveLength(5)
  for (const name of ['a2', 'b2', 'c2', 'd2', 'e2']) ask(name, 20_000)
  ask('f1', 20_000)
  expect(seen.at(-1)).toBe('f1')
})

test('where slow takers have all the memory, the one that has been going longest gives way', () => {
  const { ask, tick, at, seen, line } = openSlowScene(16 * MIB)
  for (const [i, name] of ['a1', 'b1', 'c1'].entries()) {
    ask(name, i * 20_000)
    tick(i * 20_000 + 10_000)
  }
  ask('d1', 60_000)
  tick(61_000)
  expect(seen).toEqual(['a1', 'b1', 'c1', 'a1 given up', 'd1'])
  expect(line.places.has(at('a1'))).toBe(false)
  ask('a2', 62_000)
  tick(63_000)
  expect(seen).toHaveLength(5)
  expect(out(line, at('a1'), 64_000)).toEqual([])
  expect(over(line, at('a1'), false, 64_000)).toEqual([])
  expect(line.served[0]).toBe(3)
})

test('who is gone is not remembered as slow', () => {
  const { ask, tick, taken, line } = openSlowScene(MIB)
  ask('a1', 0)
  tick(5000)
  expect(line.slow).toEqual(new Set('a'))
  got(line, 'a')
  tick(6000)
  taken('a1', 7000)
  expect(line.slow.size).toBe(0)
})

test('whatever happens, all that was asked for goes out once, and no more at a time than may', () => {
  const anyStep = fc.record({
    ask: fc.boolean(),
    peer: fc.nat(3),
    which: fc.nat(20),
    failed: fc.boolean(),
    afterMs: fc.nat(2000),
  })
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 60 }), (steps) => {
      const line = openLine(8, 0)
      const [prepared, going]: [LineWindow[], LineWindow[]] = [[], []]
      let [wanted, went, nowMs] = [0, 0, 0]
      const run = (effects: readonly LineEffect[]): void => {
        for (const { tag, window } of effects) {
          expect(tag).not.toBe('give-up') // there is memory for all of it
          if (tag === 'prepare') prepared.push(window)
          else {
            went++
            going.push(window)
            const inTime = going.filter(({ peer }) => !line.slow.has(peer))
            const alone = inTime.every(({ peer }) => peer === window.peer)
            expect(alone || inTime.length <= line.uplink.parallel).toBe(true)
            run(out(line, window, nowMs))
          }
        }
        expect(line.uplink.parallel).toBeLessThanOrEqual(MAX_PARALLEL)
      }
      const take = (window: LineWindow | undefined): void => {
        if (window === undefined) return
        going.splice(going.indexOf(window), 1)
        expect(got(line, window.peer, window.request)).toContain(window)
        expect(hasGot(line, window)).toBe(true)
        run(over(line, window, true, nowMs))
      }
      for (const { ask, peer, which, failed, afterMs } of steps) {
        nowMs += afterMs
        run(tick(line, nowMs))
        if (ask)
          run(asked(line, { peer: `${peer}`, request: ++wanted, pieces: [which % 8], bytes: MIB }, nowMs))
        else if (prepared.length > 0) {
          const [window] = prepared.splice(which % prepared.length, 1) as [LineWindow]
          if (failed) wanted--
          run(failed ? out(line, window, nowMs) : ready(line, window, nowMs))
        } else take(going[which % Math.max(1, going.length)])
      }
      while (prepared.length + going.length > 0) {
        for (const window of prepared.splice(0)) run(ready(line, window, nowMs))
        take(going[0])
      }
      expect(line.waiting).toEqual([])
      expect(line.places.size).toBe(0)
      expect(went).toBe(wanted)
    }),
  )
})

test('several takers are paced by what they take; who is alone is not', () => {
  const line = openLine(8, 0)
  let nowMs = 0
  let request = 0
  const going: LineWindow[] = []
  const run = (effects: readonly LineEffect[]): void => {
    for (const { tag, window } of effects) {
      if (tag === 'prepare') run(ready(line, window, nowMs))
      else {
        going.push(window)
        run(out(line, window, nowMs))
      }
    }
  }
  const askOf = (peer: string): void =>
    run(asked(line, { peer, request: ++request, pieces: [0], bytes: MIB }, nowMs))
  for (const peer of 'abcdef') askOf(peer)
  for (; nowMs < 60_000; nowMs += 500) {
    const first = going.shift()
    if (first === undefined) throw new Error('nothing goes')
    for (const window of got(line, first.peer, first.request)) run(over(line, window, true, nowMs))
    askOf(first.peer)
  }
  expect(paceFor(line, 'a')).toBeGreaterThan(1.5 * MIB)
  expect(paceFor(line, 'a')).toBeLessThan(3.5 * MIB)
  for (const peer of 'bcdef') {
    line.waiting.splice(0)
    for (const window of got(line, peer)) run(over(line, window, true, nowMs))
  }
  expect(paceFor(line, 'a')).toBeUndefined()
})
