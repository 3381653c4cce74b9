import { afterEach, expect, test, vi } from 'vitest'
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import { signEvent, type NostrEvent } from '../../core/nostr/event.ts'
import { ROSTER } from '../../core/nostr/kinds.ts'
import type { Roster } from '../../core/rollout/messages.ts'
import { emptyRoster, enrol } from '../../core/rollout/roster.ts'
import { encryptTo } from '../nostr/nip44.ts'
import { memoryStore } from '../release/store.ts'
import type { VendorDeps } from './api.ts'
import { generateSecrets, keysFromSecrets } from './keys-file.ts'
import { syncRoster } from './roster-sync.ts'
import { testPool, turns } from './test-pool.ts'

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
const keys = keysFromSecrets(generateSecrets(random))
const vendor = 'ab'.repeat(32) as VendorId
const device = (n: number) => ({
  key: String(n).repeat(64) as PartyKey,
  name: `d${n}`,
  hardware: 'x',
  enrolledAt: n,
})
const names = (roster: Roster) => roster.devices.map(({ name }) => name)

afterEach(() => vi.useRealTimers())

/** A tab whose publications wait until the test lets them go or refuses them. */
function tab() {
  const asked: { event: NostrEvent; answer: (error?: Error) => void }[] = []
  const relay = testPool({
    take: (event) =>
      new Promise((resolve, reject) => {
        asked.push({ event, answer: (error) => (error ? reject(error) : resolve()) })
      }),
  })
  const deps = { keys, pool: relay.pool, store: memoryStore(), nowMs: () => 1_000_000, random }
  const sync = syncRoster(deps as unknown as VendorDeps, vendor)
  /** Another tab of the vendor's has written it. */
  const other = (roster: Roster) =>
    relay.hear(
      signEvent(
        {
          kind: ROSTER,
          created_at: 1000,
          tags: [['d', vendor]],
          content: encryptTo(keys.nostr.secret, keys.nostr.key, JSON.stringify(roster)),
        },
        keys.nostr.secret,
        random(32),
      ),
    )
  return { sync, relay, asked, other }
}

test('what another tab says while an edit is on its way stays, though the edit is refused', async () => {
  vi.useFakeTimers()
  const { sync, asked, other } = tab()
  await turns()
  const edited = sync.edit((roster) => enrol(roster, device(1)))
  const refused = expect(edited).rejects.toMatchObject({ code: 'unreachable' })
  await turns()
  other(enrol(emptyRoster, device(2)))
  await vi.advanceTimersByTimeAsync(100)
  asked[0]!.answer(new Error('no'))
  await refused
  expect(names(sync.roster.get())).toEqual(['d2'])
  sync.close()
})

test('two edits at once: the refusal of the first takes nothing from the second, which does not carry it', async () => {
  const { sync, asked } = tab()
  await turns()
  const first = sync.edit((roster) => enrol(roster, device(1)))
  const refused = expect(first).rejects.toMatchObject({ code: 'unreachable' })
  const second = sync.edit((roster) => enrol(roster, device(2)))
  await turns()
  asked[0]!.answer(new Error('no'))
  await refused
  await turns()
  asked[1]!.answer()
  await second
  expect(names(sync.roster.get())).toEqual(['d2'])
  expect(asked).toHaveLength(2)
  sync.close()
})

test('a list is not handed to another key before it has come from the relay, and that wait ends', async () => {
  vi.useFakeTimers()
  const { sync, relay, asked } = tab()
  relay.lose()
  const handed = expect(sync.handOver({ ...keys.nostr })).rejects.toMatchObject({ code: 'unreachable' })
  await vi.advanceTimersByTimeAsync(20_000)
  await handed
  expect(asked).toEqual([])
  sync.close()
})
