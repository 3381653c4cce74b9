/** The demo with a large file, and as a newcomer runs it: whole, with the default file, within its minute. */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { demo } from '../support/demo-run.ts'
import { testDir } from '../support/world.ts'

test('ships 300 MB', async () => {
  const file = path.join(testDir(), 'image.img')
  const out = fs.openSync(file, 'w')
  for (let i = 0; i < 30; i++) fs.writeSync(out, randomBytes(10_000_000))
  fs.closeSync(out)
  const { code, result } = await demo(['--file', file], 900_000)
  expect(code).toBe(0)
  expect(result.release.bytes).toBe(300_000_000)
  expect(
    result.devices.every(({ state, piecesBoughtTwice }) => state === 'healthy' && piecesBoughtTwice === 0),
  ).toBe(true)
}, 960_000)

test('the default file is healthy everywhere within 60 s', async () => {
  const { code, result } = await demo([], 180_000)
  expect(code).toBe(0)
  expect(result.release.bytes).toBeGreaterThanOrEqual(20_000_000)
  for (const { seconds } of result.devices) expect(seconds).toBeLessThan(60)
}, 200_000)
