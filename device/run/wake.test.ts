import { expect, onTestFinished, test, vi } from 'vitest'
import { createWake } from './wake.ts'

test('a sleep that is longer than a timer can wait does not end at once', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const wake = createWake(new AbortController().signal)
  let woken = false
  const year = 365 * 86_400_000
  const slept = wake.sleep(year).then(() => (woken = true))
  await vi.advanceTimersByTimeAsync(86_400_000)
  expect(woken).toBe(false)
  wake.now()
  await slept
})
