import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { PartyKey, Sha256Hex, VendorId } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { verifyReceipt } from '../../core/exchange/quote.ts'
import { msat } from '../../core/money/msat.ts'
import { REPORT, REPORT_ADDENDUM } from '../../core/nostr/kinds.ts'
import { testEntry } from '../../core/release/test-repository.ts'
import type { KnownRelease } from '../../core/rollout/fleet.ts'
import type { Report, Roster } from '../../core/rollout/messages.ts'
import { emptyRoster, enrol } from '../../core/rollout/roster.ts'
import type { VendorDeps } from './api.ts'
import { watchFleet } from './fleet-watch.ts'
import { generateSecrets, keysFromSecrets } from './keys-file.ts'
import { testPool } from './test-pool.ts'

vi.mock('../../core/exchange/quote.ts', async (original) => {
  const real = await original<{ verifyReceipt: typeof verifyReceipt }>()
  return { ...real, verifyReceipt: vi.fn<typeof verifyReceipt>(real.verifyReceipt) }
})

beforeEach(() => void vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

const vendor = 'ab'.repeat(32) as VendorId
const device = '01'.repeat(32) as PartyKey
const { path, custom, sha256 } = testEntry('1.0')
const release = {
  ...custom,
  path,
  bytes: 10 * custom.pieceLength,
  sha256: sha256 as Sha256Hex,
  targetsVersion: 1,
}
const report: Report = {
  ...{ v: 1, vendor, path, sha256: release.sha256, piecesRoot: release.piecesRoot, targetsVersion: 1 },
  ...{ outcome: 'healthy', announcedAt: 1, startedAt: 1, verifiedAt: 1, finishedAt: 1 },
  ...{ paidMsat: msat(0), feesMsat: msat(0), sellers: [], receipts: 0 },
  receiptsRoot: '00'.repeat(32) as Sha256Hex,
}

function page(nowMs = () => 1000) {
  const keys = keysFromSecrets(generateSecrets((bytes) => crypto.getRandomValues(new Uint8Array(bytes))))
  const roster = liveCell<Roster>(
    enrol(emptyRoster, { key: device, name: 'd', hardware: 'rpi4', enrolledAt: 1 }),
  )
  const known = liveCell<readonly KnownRelease[]>([{ release, status: 'live', publishedAt: 1 }])
  const deps = { keys, pool: testPool().pool, nowMs } as unknown as VendorDeps
  const watch = watchFleet(deps, vendor, known, roster)
  const say = (kind: number, content: object) => {
    const rumour = { id: `${kind}`, pubkey: device, kind, created_at: 1, tags: [] }
    const heard = { ...rumour, content: JSON.stringify(content) }
    if (kind === REPORT) watch.heardReport(heard)
    else watch.heardAddendum(heard)
  }
  return { watch, say, change: () => roster.set(roster.get()) }
}

test('a late payment’s receipt is checked once, however often the view is drawn', async () => {
  const { watch, say, change } = page()
  say(REPORT, report)
  const receipt = { quote: 'x', sig: 'x', preimage: 'x' }
  say(REPORT_ADDENDUM, { v: 1, vendor, path, receipt, amountMsat: 1, feesMsat: 0 })
  for (let i = 0; i < 5; i++) {
    await vi.advanceTimersByTimeAsync(200)
    change()
  }
  expect(watch.fleet.get().releases[0]).toMatchObject({ healthy: 1, receiptsChecked: 0 })
  expect(vi.mocked(verifyReceipt)).toHaveBeenCalledTimes(1)
  watch.close()
})

test('a clock that is set ahead while the view is drawn does not hold up the next one', async () => {
  let nowMs = 0
  const { watch, say } = page(() => (nowMs += 86_400_000))
  await vi.advanceTimersByTimeAsync(200)
  say(REPORT, report)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(watch.fleet.get().releases[0]).toMatchObject({ healthy: 1 })
  watch.close()
})
