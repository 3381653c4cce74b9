import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Sha256Hex, VendorId } from '../../core/bytes.ts'
import { ApiError } from '../release/api.ts'
import { memoryStore } from '../release/store.ts'
import { watchApprovals } from './approvals.ts'
import { generateSecrets, keysFromSecrets } from './keys-file.ts'

type Look = { id: string; answer: () => void; fail: () => void }
const { looks } = vi.hoisted(() => ({ looks: [] as Look[] }))
vi.mock('./signing.ts', async (original) => ({ ...(await original<object>()), baseOf: async () => ({}) }))
vi.mock('./submit.ts', async (original) => ({
  ...(await original<object>()),
  publishedNow: async () => ({}),
  openProposal: (_where: unknown, _now: unknown, id: string) =>
    new Promise((resolve, reject) => {
      looks.push({
        id,
        answer: () => resolve({ proposal: { id, needs: [], delegated: new Map() }, changes: [] }),
        fail: () => reject(new ApiError('unreachable', 0, 'no answer')),
      })
    }),
}))

beforeEach(() => {
  vi.useFakeTimers()
  looks.length = 0
})
afterEach(() => vi.useRealTimers())

const vendor = 'ab'.repeat(32) as VendorId
const [first, second] = ['11', '22'].map((byte) => byte.repeat(32) as Sha256Hex) as [Sha256Hex, Sha256Hex]
const settled = () => vi.advanceTimersByTimeAsync(0)

async function page(kept: readonly string[]) {
  const keys = keysFromSecrets(generateSecrets((bytes) => crypto.getRandomValues(new Uint8Array(bytes))))
  const store = memoryStore({ [`proposals/${vendor}`]: JSON.stringify(kept) })
  const deps = { keys, relayUrl: 'http://localhost:1', store, fetch, nowMs: () => 0 }
  const approvals = watchApprovals(deps, vendor, () => undefined)
  await settled()
  return { approvals, shown: () => approvals.waiting.get().map(({ id }) => id) }
}

test('what was added while the relay was being asked stays, whichever answer comes last', async () => {
  const { approvals, shown } = await page([first])
  looks[0]!.answer()
  await settled()
  await vi.advanceTimersByTimeAsync(10_000)
  const added = approvals.add(second)
  await settled()
  for (const look of looks.slice(2)) look.answer()
  await settled()
  looks[3]!.answer()
  await added
  expect(shown()).toEqual([first, second])
  looks[1]!.answer()
  await settled()
  expect(shown()).toEqual([first, second])
  approvals.close()
})

test('what was added while the relay does not answer is looked for again', async () => {
  const { approvals, shown } = await page([])
  const added = expect(approvals.add(first)).rejects.toMatchObject({ code: 'unreachable' })
  await settled()
  looks[0]!.fail()
  await added
  await vi.advanceTimersByTimeAsync(10_000)
  looks[1]!.answer()
  await settled()
  expect(shown()).toEqual([first])
  approvals.close()
})
