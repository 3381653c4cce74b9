import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { readArgs, UsageError } from './args.ts'
import { alternate } from './bench.ts'
import { writeRandomFile } from './files.ts'
import { beforePay } from './pace.ts'
import { median, spread } from './stats.ts'
import { json, reached, row, table } from './table.ts'

const figures = fc.array(fc.double({ min: 0.01, max: 1000, noNaN: true }), { minLength: 1, maxLength: 20 })

test('the median has as many figures above it as below, within the spread', () => {
  fc.assert(
    fc.property(figures, (values) => {
      const middle = median(values)
      const [low, high] = spread(values)
      expect(values.filter((value) => value < middle).length).toBeLessThanOrEqual(values.length / 2)
      expect(values.filter((value) => value > middle).length).toBeLessThanOrEqual(values.length / 2)
      expect(low <= middle && middle <= high).toBe(true)
      expect([...values].sort((a, b) => a - b).at(0)).toBe(low)
    }),
  )
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 3])).toBe(2.5)
  expect(() => median([])).toThrow(RangeError)
})

test('a row is reached on the good side of its goal only', () => {
  expect(reached(row('a', [1.2], 1.2, 'higher'))).toBe(true)
  expect(reached(row('a', [1.19], 1.2, 'higher'))).toBe(false)
  expect(reached(row('a', [1.3], 1.3, 'lower'))).toBe(true)
  expect(reached(row('a', [1.31], 1.3, 'lower'))).toBe(false)
})

test('the object for programs has the agreed fields and nothing else; the table has every row', () => {
  const rows = [
    row('1 s', [1.02, 0.99, 1.05], 0.97, 'higher', { note: 'free 20 s' }),
    row('peak', [170], 160, 'lower', { unit: 'MB' }),
  ]
  expect(JSON.parse(json('paid', rows))).toEqual({
    bench: 'paid',
    rows: [
      { name: '1 s', value: 1.02, goal: 0.97, better: 'higher', spread: [0.99, 1.05] },
      { name: 'peak', value: 170, goal: 160, better: 'lower', spread: [170, 170] },
    ],
  })
  expect(json('paid', rows)).not.toContain('\n')
  const lines = table('paid', rows).split('\n')
  expect(lines).toHaveLength(3)
  expect(lines[1]).toMatch(/1 s .*1\.02 .*0\.99 to 1\.05 .*at least 0\.97 .*reached .*free 20 s/)
  expect(lines[2]).toMatch(/at most 160 MB .*missed/)
})

test('the command line names benches that there are, and says what is wrong with it', () => {
  const known = ['paid', 'paid --tabs', 'paid --wallet-tps', 'paid --lnd', 'swarm']
  expect(readArgs([], known).names).toEqual([])
  expect(readArgs(['paid', '--quick', '--json'], known)).toMatchObject({
    names: ['paid'],
    quick: true,
    json: true,
  })
  expect(readArgs(['paid', '--tabs'], known).names).toEqual(['paid --tabs'])
  expect(readArgs(['paid', '--wallet-tps', '33'], known).names).toEqual(['paid --wallet-tps'])
  expect(readArgs(['paid', '--lnd'], known).names).toEqual(['paid --lnd'])
  expect(readArgs(['paid', '--pairs', '3'], known).pairs).toBe(3)
  for (const wrong of [
    ['payd'],
    ['swarm', '--tabs'],
    ['swarm', '--lnd'],
    ['paid', '--wallet-tps', '9'],
    ['paid', '--pairs', '0'],
    ['--fast'],
    ['--help'],
  ])
    expect(() => readArgs(wrong, known)).toThrow(UsageError)
})

test('contenders take turns at being first', async () => {
  const order: string[] = []
  const runs = await alternate(
    3,
    async (pair) => order.push(`a${pair}`),
    async (pair) => order.push(`b${pair}`),
  )
  expect(order).toEqual(['a0', 'b0', 'b1', 'a1', 'a2', 'b2'])
  expect(runs).toHaveLength(3)
})

test('a file is the same for the same seed, and has the length that was asked for', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'satpatch-bench-test-'))
  try {
    const make = async (name: string, bytes: number, seed: string): Promise<Buffer> => {
      await writeRandomFile(path.join(dir, name), bytes, seed)
      return readFile(path.join(dir, name))
    }
    const size = 5 * 1024 * 1024 + 7
    const [one, same, other] = [
      await make('a', size, 'x'),
      await make('b', size, 'x'),
      await make('c', size, 'y'),
    ]
    expect(one.length).toBe(size)
    expect(one.equals(same)).toBe(true)
    const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
    expect(digest(one)).not.toBe(digest(other))
    expect(one.subarray(0, 4096).equals(one.subarray(4 * 1024 * 1024, 4 * 1024 * 1024 + 4096))).toBe(false)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})

test('payments wait their latency, and no more of them are made than the wallet can', () => {
  vi.useFakeTimers()
  try {
    const made: number[] = []
    const pay = beforePay({ latencyMs: 1000, perSecond: 10 })
    const startMs = performance.now()
    for (let i = 0; i < 3; i++) pay?.(() => made.push(performance.now() - startMs))
    vi.runAllTimers()
    expect(made).toEqual([1000, 1100, 1200])
    expect(beforePay({ latencyMs: 0 })).toBeUndefined()
  } finally {
    vi.useRealTimers()
  }
})
