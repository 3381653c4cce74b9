import { expect, onTestFinished, test, vi } from 'vitest'
import { liveCell } from '../../core/live.ts'
import { publicKey } from '../../core/nostr/event.ts'
import { encodeStoreCode } from '../../core/shop/shop.ts'
import type { Pool } from '../../edge/nostr/pool.ts'
import { memoryJournal } from '../../edge/swarm/memory.ts'
import { buying } from './shop.svelte.ts'

const fake = vi.hoisted(() => ({
  open: undefined as unknown,
  looked: 0,
  pools: [] as { relay: string; open: number; closed: boolean }[],
}))
vi.mock('../../edge/storage/idb-journal.ts', () => ({
  openIdbJournal: () => {
    const journal = memoryJournal()
    return { ...journal, keys: (prefix: string) => (fake.looked++, journal.keys(prefix)) }
  },
}))
vi.mock('../wallet/wallets.svelte.ts', () => ({
  wallets: {
    begin: () => Promise.resolve(),
    get open() {
      return fake.open
    },
    vault: { get: () => Promise.resolve('07'.repeat(32)) },
  },
}))
vi.mock('../../edge/nostr/pool.ts', () => ({
  createPool([relay = '']: readonly string[]): Pool {
    const pool = { relay, open: 0, closed: false }
    fake.pools.push(pool)
    return {
      status: liveCell([]),
      publish: () => Promise.resolve(),
      subscribe: () => (pool.open++, () => pool.open--),
      close: () => void (pool.closed = true),
    }
  },
}))
const code = (relay: string): string =>
  encodeStoreCode({ shop: publicKey(new Uint8Array(32).fill(3)), relay, visitor: new Uint8Array(32).fill(5) })
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('who comes to the page again and again has what was bought read once a change', async () => {
  const open = liveCell<ReadonlyMap<string, object>>(new Map())
  fake.open = open
  vi.stubGlobal('navigator', { locks: { request: (_: string, run: () => unknown) => run() } })
  onTestFinished(() => void vi.unstubAllGlobals())
  for (let visits = 0; visits < 5; visits++) await buying.begin(undefined)
  await settled()
  fake.looked = 0
  open.set(new Map())
  await settled()
  expect(fake.looked).toBeLessThanOrEqual(2) // one for what was bought, one for keys to be claimed
})

test('of two shops that are entered at once the last one is visited, and the other left', async () => {
  vi.stubGlobal('navigator', { locks: { request: (_: string, run: () => unknown) => run() } })
  onTestFinished(() => void vi.unstubAllGlobals())
  fake.pools.length = 0
  await Promise.all([buying.enter(code('ws://one/nostr')), buying.enter(code('ws://two/nostr'))])
  expect(fake.pools.map(({ relay, open, closed }) => [relay, open > 0, closed])).toEqual([
    ['ws://one/nostr', false, true],
    ['ws://two/nostr', true, false],
  ])
  expect(buying.code?.relay).toBe('ws://two/nostr')
  buying.leave()
  expect(fake.pools.every(({ open, closed }) => open === 0 && closed)).toBe(true)
})
