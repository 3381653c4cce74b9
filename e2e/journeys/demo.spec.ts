/** `npm run demo -- --once --json`: right for files of every awkward size and name, and for fleets of any shape. */
import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { demo } from '../support/demo-run.ts'
import { testDir } from '../support/world.ts'

const unicode = 'ünï cödé 名前 🚀 (final).bin'

test.each([
  { name: 'one', bytes: 1, devices: 1, distributors: 1 },
  { name: 'below a block', bytes: 16_383, devices: 1, distributors: 2 },
  { name: 'a block.bin', bytes: 16_384, devices: 2, distributors: 1 },
  { name: 'past a block', bytes: 16_385, devices: 1, distributors: 1 },
  { name: unicode, bytes: 5_000_000, devices: 8, distributors: 5 },
])(
  'ships "$name" of $bytes bytes to $devices from $distributors',
  async ({ name, bytes, devices, distributors }) => {
    const file = path.join(testDir(), name)
    const content = randomBytes(bytes)
    fs.writeFileSync(file, content)
    const { code, result, stdout } = await demo(
      ['--file', file, '--devices', String(devices), '--distributors', String(distributors)],
      150_000,
    )
    expect(code).toBe(0)
    expect(stdout.trimEnd().split('\n')).toHaveLength(1)
    const sha256 = createHash('sha256').update(content).digest('hex')
    expect(result.ok).toBe(true)
    expect(result.release).toMatchObject({ sha256, bytes })
    expect(result.devices).toHaveLength(devices)
    expect(result.sellers).toHaveLength(distributors + 1)
    for (const device of result.devices)
      expect(device).toMatchObject({ state: 'healthy', sha256, receiptsValid: true, piecesBoughtTwice: 0 })
    const paid = result.devices.reduce((sum, { paidMsat }) => sum + paidMsat, 0)
    const earned = result.sellers.reduce((sum, { earnedMsat }) => sum + earnedMsat, 0)
    expect(paid).toBe(earned)
    expect(paid).toBeGreaterThan(0)
  },
  180_000,
)

test('an empty file is refused in words, and nothing is started', async () => {
  const file = path.join(testDir(), 'nothing.bin')
  fs.writeFileSync(file, '')
  const { code, stdout, stderr } = await demo(['--file', file], 20_000)
  expect(code).toBe(2)
  expect(stdout).toBe('')
  expect(stderr).toContain('nothing.bin is empty')
})
