/** The demo's own parts: its flags, its default file and its judge. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { root } from '../support/run.ts'
import { parseFlags, UsageError } from './flags.ts'
import { chosenFile, makeArchive } from './material.ts'
import { judge, type DeviceOutcome, type Outcome } from './verdict.ts'

const temporary = (): string => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-demo-'))
  onTestFinished(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('flags are numbers in their bounds, and paths start where the person stood', () => {
  const flags = parseFlags(['--once', '--devices', '8', '--file', 'a b.bin'], '/p', '/home/me')
  expect(flags).toMatchObject({
    once: true,
    devices: 8,
    distributors: 2,
    file: '/home/me/a b.bin',
    keep: false,
  })
  expect(parseFlags(['--help'], '/p', '/')).toBe('help')
  for (const wrong of [
    ['--devices', '0'],
    ['--devices', '51'],
    ['--price', '1.5'],
    ['--port', 'x'],
    ['--nope'],
  ])
    expect(() => parseFlags(wrong, '/p', '/')).toThrow(UsageError)
})

test('an empty file, a missing one and a directory are refused in words', () => {
  const dir = temporary()
  fs.writeFileSync(path.join(dir, 'empty'), '')
  expect(() => chosenFile(path.join(dir, 'empty'))).toThrow(/is empty/)
  expect(() => chosenFile(path.join(dir, 'nothing'))).toThrow(/no file/)
  expect(() => chosenFile(dir)).toThrow(/not a file/)
})

test('the default file is a real archive of at least 20 MB', () => {
  const made = makeArchive(path.join(root, 'node_modules'), temporary())
  expect(made.bytes).toBe(fs.statSync(made.file).size)
  expect(made.bytes).toBeGreaterThanOrEqual(20_000_000)
  const listed = execFileSync('tar', ['-tf', made.file], { encoding: 'utf8', maxBuffer: 1 << 24 })
  expect(listed).toContain('typescript/package.json')
})

const receipt = (seller: string, amountMsat: number, paymentHash: string) => ({
  seller,
  amountMsat,
  valid: true,
  paymentHash,
})
const device: DeviceOutcome = {
  id: 'd',
  name: 'device-1',
  state: 'healthy',
  sha256: 'aa',
  seconds: 3,
  balanceFallMsat: 31,
  paidMsat: 30,
  feesMsat: 1,
  receipts: [receipt('s', 10, '1'), receipt('t', 20, '2')],
  paymentHashes: ['1', '2'],
  piecesBoughtTwice: 0,
}
const fine: Outcome = {
  release: { name: 'demo', version: '1', sha256: 'aa', bytes: 5 },
  devices: [device],
  sellers: [
    { id: 's', name: 'distributor-1', earnedMsat: 10, uploadedBytes: 1 },
    { id: 't', name: 'distributor-2', earnedMsat: 20, uploadedBytes: 2 },
    { id: 'v', name: 'vendor', earnedMsat: 0, uploadedBytes: 0 },
  ],
}

test('the judge passes what is right and sums per seller', () => {
  const verdict = judge(fine)
  expect(verdict.problems).toEqual([])
  expect(verdict.ok).toBe(true)
  expect(verdict.devices[0]).toMatchObject({ receipts: 2, receiptsValid: true, sellers: { s: 10, t: 20 } })
})

const withDevice = (change: Partial<DeviceOutcome>): Outcome => ({
  ...fine,
  devices: [{ ...device, ...change }],
})
test.each<[string, Outcome]>([
  ['a device that is not healthy', withDevice({ state: 'failed' })],
  ['other bytes', withDevice({ sha256: 'ab' })],
  ['a piece bought twice', withDevice({ piecesBoughtTwice: 1 })],
  [
    'a receipt that does not check',
    withDevice({ receipts: device.receipts.map((r) => ({ ...r, valid: false })) }),
  ],
  [
    'one payment counted twice',
    withDevice({ receipts: device.receipts.map((r) => ({ ...r, paymentHash: '1' })) }),
  ],
  ['a payment without receipt', withDevice({ paymentHashes: ['1', '2', '3'] })],
  ['one msat less in the wallet', withDevice({ balanceFallMsat: 32 })],
  ['another sum in the ledger', withDevice({ paidMsat: 29 })],
  [
    'a seller that earned more',
    { ...fine, sellers: fine.sellers.map((s) => ({ ...s, earnedMsat: s.earnedMsat + 1 })) },
  ],
  ['a seller that nobody started', { ...fine, sellers: fine.sellers.slice(1) }],
])('the judge fails %s', (_, outcome) => {
  expect(judge(outcome).ok).toBe(false)
})
