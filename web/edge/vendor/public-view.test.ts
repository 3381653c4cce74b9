import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Sha256Hex } from '../../core/bytes.ts'
import { publicKey, signEvent, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { ATTESTATION } from '../../core/nostr/kinds.ts'
import { releaseEvent } from '../../core/release/announce.ts'
import { testEntry, testRepository, testVendor } from '../../core/release/test-repository.ts'
import { memoryStore } from '../release/store.ts'
import { createPublicView } from './public-view.ts'
import { testPool } from './test-pool.ts'

const { vendorSecret } = vi.hoisted(() => ({ vendorSecret: new Uint8Array(32).fill(7) }))
vi.mock('../../core/release/announcers.ts', async (original) => ({
  ...(await original<object>()),
  announcersOf: () => (author: string) => (author === publicKey(vendorSecret) ? 'vendor' : 'nobody'),
}))

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => vi.useRealTimers())
const turns = async () => {
  for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve))
}
const nowMs = 1_800_000_000_000
const sign = (template: Parameters<typeof signEvent>[0], secret: SecretKey): NostrEvent =>
  signEvent(template, secret, new Uint8Array(32))

function page() {
  const repository = testRepository(nowMs)
  const [entry, next] = [testEntry('1.0'), testEntry('2.0')]
  repository.publish([entry])
  const at: { hold?: Promise<void> } = {}
  const relay = testPool()
  const answer = async (input: string | URL | Request): Promise<Response> => {
    const name = new Request(input).url.split('/').at(-1)!
    const bytes = repository.files[name]
    if (name === 'timestamp.json') await at.hold
    return new Response(bytes ?? null, { status: bytes ? 200 : 404 })
  }
  const { vendor } = repository
  const deps = { vendor, pool: relay.pool, store: memoryStore(), nowMs: () => nowMs, fetch: answer }
  const open = () => createPublicView({ ...deps, relayUrl: 'http://relay.test' })
  const announced = (targetsVersion: number) =>
    sign(
      releaseEvent({
        ...{ vendor, status: 'live', targetsVersion, createdAtS: 1000 + targetsVersion },
        release: { product: 'pump', version: '2.0', sha256: next.sha256 as Sha256Hex },
      }),
      vendorSecret,
    )
  const attested = (n: number) =>
    sign(
      {
        ...{ kind: ATTESTATION, created_at: 1000, content: '' },
        tags: [
          ['d', entry.path],
          ['i', vendor],
          ['x', entry.sha256],
          ['l', 'healthy'],
        ],
      },
      new Uint8Array(32).fill(n),
    )
  const versions = (view: ReturnType<typeof open>) => view.releases.get().map((one) => one.release.version)
  return { at, relay, repository, open, announced, attested, versions, next, entry }
}

test('what is announced while the mirror is being asked is looked for at once', async () => {
  const { at, relay, repository, open, announced, versions, entry, next } = page()
  const view = open()
  await turns()
  expect(view.name.get()).toBe(testVendor.name)
  let answer: () => void = () => undefined
  at.hold = new Promise((resolve) => (answer = resolve))
  await vi.advanceTimersByTimeAsync(60_000)
  await turns()
  repository.publish([entry, next])
  relay.hear(announced(2))
  delete at.hold
  answer()
  await turns()
  expect(versions(view).toSorted()).toEqual(['1.0', '2.0'])
  view.close()
})

test('a mirror that shows less than was announced before this page was opened is not believed', async () => {
  const { relay, open, announced } = page()
  relay.hear(announced(9))
  const view = open()
  await turns()
  expect(view.trouble.get()).toMatch(/freeze/)
  view.close()
  expect(relay.subscriptions.size).toBe(0)
})

test('a hundred attestations are counted a few times, not a hundred', async () => {
  const { relay, open, attested } = page()
  const view = open()
  await turns()
  let shown = 0
  view.releases.subscribe(() => shown++)
  relay.hear(...Array.from({ length: 100 }, (_, n) => attested(n + 1)))
  await vi.advanceTimersByTimeAsync(1000)
  expect(view.releases.get()[0]).toMatchObject({ healthy: 100 })
  expect(shown).toBe(2)
  view.close()
})
