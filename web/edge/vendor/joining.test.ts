import { expect, test } from 'vitest'
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { JOIN_REQUEST } from '../../core/nostr/kinds.ts'
import { decodeJoinCode } from '../../core/rollout/join.ts'
import { emptyRoster } from '../../core/rollout/roster.ts'
import { memoryStore } from '../release/store.ts'
import type { VendorDeps } from './api.ts'
import { createJoining } from './joining.ts'
import { generateSecrets, keysFromSecrets } from './keys-file.ts'
import type { RosterSync } from './roster-sync.ts'
import { testPool } from './test-pool.ts'

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes))
const vendor = 'ab'.repeat(32) as VendorId
const DAY_MS = 86_400_000
const key = (n: number) => n.toString(16).padStart(64, '0') as PartyKey

function page() {
  const keys = keysFromSecrets(generateSecrets(random))
  const at = { nowMs: 1_800_000_000_000 }
  const deps = {
    ...{ keys, random, pool: testPool().pool, store: memoryStore(), nowMs: () => at.nowMs },
    relayUrl: 'http://localhost:1',
  }
  const roster = { roster: liveCell(emptyRoster) } as unknown as RosterSync
  const joining = createJoining(deps as unknown as VendorDeps, vendor, roster)
  const read = decodeJoinCode(joining.makeCode())
  if (read.tag !== 'ok') throw new Error(read.message)
  const ask = (n: number, atMs: number, secret = '00'.repeat(16)) =>
    joining.heard({
      id: `${n} ${atMs}`,
      pubkey: key(n),
      kind: JOIN_REQUEST,
      created_at: Math.floor(atMs / 1000),
      tags: [],
      content: JSON.stringify({ v: 1, secret, name: 'd', hardware: 'x', walletClient: key(1) }),
    })
  const shown = () => joining.requests.get().map(({ device }) => device)
  return { at, joining, ask, shown, secret: read.code.secret }
}

test('thousands of uninvited keys do not keep out one that was invited, however late it asks', () => {
  const { at, ask, shown, secret } = page()
  ask(1, at.nowMs, secret)
  for (let n = 10; n < 2020; n++) ask(n, at.nowMs)
  ask(2, at.nowMs, secret)
  expect(shown()).toContain(key(1))
  expect(shown()).toContain(key(2))
  expect(shown()).toHaveLength(22)
})

test('who was declined stays away for a day, also with a clock that is ahead', async () => {
  const { at, joining, ask, shown } = page()
  const ahead = 3 * DAY_MS
  ask(1, at.nowMs + ahead)
  await joining.decline(joining.requests.get()[0]!.id)
  expect(shown()).toEqual([])
  at.nowMs += DAY_MS - 1000
  ask(1, at.nowMs + ahead)
  expect(shown()).toEqual([])
  at.nowMs += 1000
  ask(1, at.nowMs + ahead)
  expect(shown()).toEqual([key(1)])
})
