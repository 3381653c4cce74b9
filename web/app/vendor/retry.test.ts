import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { untilItWorks } from './retry.ts'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

test('what fails is tried again, less and less often, until it works', async () => {
  const at: number[] = []
  const start = Date.now()
  const troubles: unknown[] = []
  const attempt = () => {
    at.push(Date.now() - start)
    return at.length < 5 ? Promise.reject(new Error(`no ${at.length}`)) : Promise.resolve('wallet')
  }
  const opened = untilItWorks(attempt, [10, 100, 1000], (error) => troubles.push(error))
  await vi.runAllTimersAsync()
  expect(await opened).toBe('wallet')
  expect(at).toEqual([0, 10, 110, 1110, 2110])
  expect(troubles).toHaveLength(4)
})
