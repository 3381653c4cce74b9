import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { UploadLine, type LineSale } from './upload-line.ts'

let nowMs = 0
let out: string[]
let line: UploadLine
beforeEach(() => {
  vi.useFakeTimers()
  nowMs = 0
  out = []
  line = new UploadLine(8, () => nowMs)
})
afterEach(() => vi.useRealTimers())

const sale = (peer: string, request: number, ...pieces: number[]): LineSale => ({
  peer,
  request,
  pieces,
  bytes: 1024 * 1024,
})

/** As a window goes: held, made ready, on the line until its taker has it. */
function serve(of: LineSale): void {
  void (async () => {
    await line.hold(of)
    await line.enter(of)
    out.push(`${of.peer}${of.request}`)
    line.letGo(of)
    await line.leave(of, false)
    out.push(`${of.peer}${of.request} off`)
  })()
}
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0)

test('one window after the other, each when the taker of the one before has all of it', async () => {
  for (const peer of ['a', 'b', 'c']) serve(sale(peer, 1, 0))
  await settled()
  expect(out).toEqual(['a1'])
  line.got('b', 1)
  line.got('a', 2)
  await settled()
  expect(out).toEqual(['a1'])
  line.got('a', 1)
  await settled()
  expect(out).toEqual(['a1', 'a1 off', 'b1'])
  line.gone('b')
  await settled()
  expect(out.slice(3)).toEqual(['b1 off', 'c1', 'c1 off'])
})

test('whose pieces went out least is made ready next', async () => {
  for (const [i, pieces] of [[0], [1], [0, 1], [2], [0]].entries())
    serve(sale('abcde'[i] as string, 1, ...pieces))
  for (const peer of ['a', 'b', 'd', 'c', 'e']) {
    await settled()
    line.got(peer, 1)
  }
  await settled()
  expect(out.filter((text) => !text.endsWith('off'))).toEqual(['a1', 'b1', 'd1', 'c1', 'e1'])
})

test('a taker that never says so keeps the line for two seconds', async () => {
  serve(sale('a', 1, 0))
  serve(sale('b', 1, 1))
  await vi.advanceTimersByTimeAsync(1999)
  expect(out).toEqual(['a1'])
  await vi.advanceTimersByTimeAsync(1)
  expect(out).toEqual(['a1', 'a1 off', 'b1', 'b1 off'])
})

test('where nobody else waits a taker’s next window goes at once', async () => {
  serve(sale('a', 1, 0))
  await settled()
  serve(sale('a', 2, 1))
  await settled()
  expect(out).toEqual(['a1', 'a1 off', 'a2', 'a2 off'])
})
