/** The engine's own turns, without what it watches (`session.ts`). Against a real relay: `relay/vendor-*.test.ts`. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import { testRepository } from '../../core/release/test-repository.ts'
import type { RelayConfig } from '../relay-config.ts'
import { memoryStore } from '../release/store.ts'
import type { VendorDeps } from './api.ts'
import { generateSecrets, keysFromSecrets } from './keys-file.ts'
import { testPool } from './test-pool.ts'
import { createVendor } from './vendor.ts'

const { opened, signed } = vi.hoisted(() => ({ opened: [] as string[], signed: { next: () => undefined } }))
vi.mock('./session.ts', async (original) => ({
  ...(await original<object>()),
  openSession: (_deps: unknown, id: string) => {
    opened.push(id)
    return { close: () => undefined }
  },
}))
vi.mock('./signing.ts', async (original) => {
  type Refresh = (deps: VendorDeps, vendor: VendorId, floor: number) => Promise<{ verified?: object }>
  const real = await original<{ refreshOwn: Refresh }>()
  const changeTargets = async (deps: VendorDeps, vendor: VendorId) => {
    signed.next()
    const { verified } = await real.refreshOwn(deps, vendor, 0)
    return { verified, before: verified }
  }
  return { ...real, findVendor: async () => undefined, changeTargets }
})

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  opened.length = 0
})
afterEach(() => vi.useRealTimers())
const turns = async () => {
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
}

const nowMs = 1_800_000_000_000
const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))

function relay(store = memoryStore()) {
  const repository = testRepository(nowMs)
  repository.publish([])
  signed.next = () => void repository.publish([])
  const at: { down: boolean; hold?: Promise<void> } = { down: false }
  const answer = async (input: string | URL | Request): Promise<Response> => {
    if (at.down) throw new Error('down')
    const name = (typeof input === 'string' ? input : input instanceof URL ? input.href : input.url)
      .split('/')
      .at(-1)!
    const bytes = repository.files[name]
    if (name === 'timestamp.json') await at.hold
    return new Response(bytes ?? null, { status: bytes ? 200 : 404 })
  }
  const vendor = () =>
    createVendor({
      keys: keysFromSecrets(generateSecrets(random)),
      relayUrl: 'http://relay.test',
      config: { relayKey: 'cd'.repeat(32) as PartyKey, vendors: [] } as unknown as RelayConfig,
      pool: testPool().pool,
      store,
      vendor: repository.vendor,
      nowMs: () => nowMs,
      random,
      fetch: answer,
    })
  return { at, vendor }
}

test('an answer from before something was published does not take it back', async () => {
  const { at, vendor: open } = relay()
  at.down = true
  const vendor = open()
  await vendor.ready
  expect(vendor.status.get().tag).toBe('trouble')
  at.down = false
  let answer: () => void = () => undefined
  at.hold = new Promise((resolve) => (answer = resolve))
  await vi.advanceTimersByTimeAsync(1000)
  await turns()
  delete at.hold
  const resigned = vendor.resign()
  await turns()
  answer()
  await resigned
  await turns()
  expect(vendor.status.get()).toMatchObject({ tag: 'ready', targetsVersion: 2 })
  vendor.close()
})

test('a page that is closed while it starts opens nothing any more', async () => {
  let kept: () => void = () => undefined
  const store = memoryStore()
  const slow = { ...store, put: () => new Promise<void>((resolve) => (kept = resolve)) }
  const vendor = relay(slow).vendor()
  await turns()
  vendor.close()
  kept()
  await vendor.ready
  expect(opened).toEqual([])
})
