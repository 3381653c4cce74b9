/** Uptane's slow retrieval and dropped requests: what only time can tell. */
import { expect, test } from 'vitest'
import { until } from '../support/processes.ts'
import type { Answer } from './front.ts'
import { stageOfFile } from './stage.ts'

const stage = stageOfFile()

/** Trouble that no device can tell from an attack: it is said as such, and nothing changes. */
async function saysAndStands(
  reason: RegExp,
  answers: Readonly<Record<string, Answer>> | 'cut',
): Promise<void> {
  const before = await stage().standing()
  const since = stage().logLength()
  if (answers === 'cut') stage().front.cut()
  else stage().front.serve(answers)
  stage().look()
  await stage().says(reason, since)
  stage().front.clear()
  expect(await stage().standing()).toEqual(before)
}

test('slow retrieval: a mirror that drips is given up after twenty seconds, and nothing waits for it longer', async () => {
  const startedMs = performance.now()
  await saysAndStands(/no answer within 20 s/, {
    '/timestamp.json': (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const drip = setInterval(() => void response.write('{'), 500)
      response.once('close', () => clearInterval(drip))
    },
  })
  expect(performance.now() - startedMs).toBeGreaterThan(19_000)
  const release = await stage().ship('1.1.0')
  await stage().healthy(release)
})

test('dropped requests: with the line cut the device says so, and looks by itself when it is back', async () => {
  await saysAndStands(/No mirror could be used/, 'cut')
  const since = stage().logLength()
  const asked = stage().front.asked.length
  // Nobody tells it to look: its sockets come back.
  await until('the device to look again', 45_000, () =>
    stage()
      .front.asked.slice(asked)
      .some((one) => one.endsWith('/timestamp.json'))
      ? true
      : undefined,
  )
  expect(stage().logLength()).toBeGreaterThanOrEqual(since)
})
