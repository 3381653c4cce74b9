import { expect, test } from 'vitest'
import { memoryStore } from '../../web/edge/release/store.ts'
import { createClock } from './clock.ts'

const FLOOR = Date.UTC(2026, 10, 1) / 1000
const NOW = Date.UTC(2026, 10, 20)
const DAY = 86_400_000

test('a board without a battery starts in 1970 at every start: its clock is not set yet, which is no attack', async () => {
  const store = memoryStore()
  for (const boot of ['first', 'second', 'third']) {
    const clock = createClock(store, boot)
    expect(await clock.judge(0, FLOOR)).toEqual({ tag: 'not-set' })
    expect(await clock.judge(5000, FLOOR)).toEqual({ tag: 'not-set' })
    expect(await clock.judge(NOW, FLOOR)).toEqual({ tag: 'right' })
  }
})

test('right once and then behind the floor it was set back, after a restart in the same boot too', async () => {
  const store = memoryStore()
  const clock = createClock(store, 'boot')
  await clock.judge(NOW, FLOOR)
  expect(await clock.judge(FLOOR * 1000 - DAY, FLOOR)).toMatchObject({ tag: 'set-back' })
  expect(await createClock(store, 'boot').judge(0, FLOOR)).toMatchObject({ tag: 'set-back' })
  expect(await createClock(store, 'later boot').judge(0, FLOOR)).toEqual({ tag: 'not-set' })
  expect(await createClock(store, undefined).judge(0, FLOOR)).toEqual({ tag: 'not-set' })
})

test('a jump back while it runs is told once; small corrections and the way to the right time are not', async () => {
  const clock = createClock(memoryStore(), undefined)
  expect(await clock.judge(NOW, FLOOR)).toEqual({ tag: 'right' })
  expect(await clock.judge(NOW - 60_000, FLOOR)).toEqual({ tag: 'right' })
  expect(await clock.judge(NOW - 2 * DAY, FLOOR)).toMatchObject({ tag: 'set-back' })
  expect(await clock.judge(NOW - 2 * DAY + 1000, FLOOR)).toEqual({ tag: 'right' })
  expect(await clock.judge(NOW + DAY, FLOOR)).toEqual({ tag: 'right' })
})
