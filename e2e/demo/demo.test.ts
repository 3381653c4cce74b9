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
import { frame, LEAST_COLUMNS } from './view.ts'

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
    ['--hop', '5'],
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

test('the picture fits the terminal: a row that breaks could not be redrawn in place', () => {
  const device = {
    name: 'device-10',
    state: 'rolled back',
    pieces: 3,
    havePieces: 2,
    paidMsat: 123_456,
    reason: 'the health command exited with code 1: no pulse',
    sellers: [{ seller: 'one', bytes: 12, rateBps: 99_000_000 }],
  }
  const buying = { ...device, state: 'buying', reason: undefined }
  const release = { product: 'satpatch-tools', version: '1.0.0', bytes: 28e6, fileName: 'satpatch-tools.tar' }
  const sums = { healthy: 0, enrolled: 2, paidMsat: 246_912, receipts: 40, receiptsChecked: 39 }
  const view = { release, devices: [device, buying], ...sums } as unknown as Parameters<typeof frame>[0]
  for (const columns of [LEAST_COLUMNS, 80, 100, 200]) {
    const lines = frame(view, () => 'distributor-1', columns, false)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns)
    expect(lines.join('\n')).toContain('█')
  }
})

const receipt = (seller: string, amountMsat: number, paymentHash: string, feesMsat = 0) => ({
  seller,
  amountMsat,
  feesMsat,
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
  reportedFeesMsat: 1,
  receipts: [receipt('s', 10, '1', 1), receipt('t', 20, '2')],
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

const seen = (fee: number, received: number): Outcome => ({
  ...fine,
  htlcs: {
    sent: new Map([
      ['1', { amount: 10, fee }],
      ['2', { amount: 20, fee: 0 }],
    ]),
    received: new Map([
      ['1', 10],
      ['2', received],
    ]),
  },
})

test('over real Lightning each receipt is a payment that both nodes have settled', () => {
  expect(judge(seen(1, 20)).lightning).toEqual({ payments: 2, amountMsat: 30, feesMsat: 1 })
  expect(judge(seen(1, 20)).ok).toBe(true)
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
  ['a payment that a node knows otherwise', seen(1, 19)],
  ['a fee that was not reported', withDevice({ reportedFeesMsat: 0 })],
  [
    'a fee that stands in no receipt',
    withDevice({ receipts: device.receipts.map((r) => ({ ...r, feesMsat: 0 })) }),
  ],
  ['a fee that the node did not take', seen(0, 20)],
  ['a seller that nobody started', { ...fine, sellers: fine.sellers.slice(1) }],
])('the judge fails %s', (_, outcome) => {
  expect(judge(outcome).ok).toBe(false)
})
