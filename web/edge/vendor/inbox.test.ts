import { expect, test } from 'vitest'
import { signEvent, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { subscribeAll } from './inbox.ts'
import { testPool, turns } from './test-pool.ts'

const secret: SecretKey = new Uint8Array(32).fill(1)
let made = 0
const sign = (created_at: number): NostrEvent =>
  signEvent({ kind: 1, created_at, tags: [], content: String(made++) }, secret, new Uint8Array(32))
const many = (count: number, at: (i: number) => number): NostrEvent[] =>
  Array.from({ length: count }, (_, i) => sign(at(i)))

const PAGE = 120

function watch(relay: ReturnType<typeof testPool>) {
  const heard: string[] = []
  let stored = 0
  const end = subscribeAll(
    relay.pool,
    { kinds: [1] },
    (event) => heard.push(event.id),
    () => stored++,
  )
  return { heard, end, stored: () => stored }
}
const ids = (events: readonly NostrEvent[]) => new Set(events.map(({ id }) => id))

test('all pages come, each event once, also past a second in which more was written than a page holds', async () => {
  const relay = testPool({ page: PAGE })
  const [old, flood, young] = [
    many(150, (i) => 1000 + i),
    many(PAGE + 1, () => 5000),
    many(130, (i) => 6000 + i),
  ]
  relay.hear(...old, ...flood, ...young)
  const at = watch(relay)
  await turns()
  expect(at.stored()).toBe(1)
  expect(at.heard).toHaveLength(new Set(at.heard).size)
  const heard = new Set(at.heard)
  expect(ids([...old, ...young]).isSubsetOf(heard)).toBe(true)
  at.end()
  expect(relay.subscriptions.size).toBe(0)
})

test('what came while the line was down is heard, though it is dated before much that is known', async () => {
  const relay = testPool({ page: PAGE })
  const now = 10_000_000
  relay.hear(...many(300, (i) => now - i * 100))
  const at = watch(relay)
  await turns()
  for (const missed of [sign(now - 29_950), sign(now - 150)]) {
    relay.lose()
    relay.hear(missed)
    relay.connect()
    await turns()
    expect(at.heard).toContain(missed.id)
  }
  expect(at.heard).toHaveLength(302)
  expect(at.stored()).toBe(1)
  expect(relay.subscriptions.size).toBe(1)
  at.end()
  relay.lose()
  relay.connect()
  expect(relay.subscriptions.size).toBe(0)
})

test('a line that breaks while pages come: the rest comes, and what was missed', async () => {
  const relay = testPool({ page: PAGE })
  const now = 10_000_000
  relay.hear(...many(300, (i) => now - i * 100))
  const at = watch(relay)
  await turns(1)
  relay.lose()
  const missed = sign(now - 150)
  relay.hear(missed)
  await turns()
  expect(at.stored()).toBe(0)
  relay.connect()
  await turns()
  expect(new Set(at.heard).size).toBe(301)
  expect(at.heard).toContain(missed.id)
  expect(at.stored()).toBe(1)
})
