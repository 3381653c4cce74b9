/** Who seeds with what, without a swarm: the parts that join and sell are stood in for. */
import { expect, test, vi } from 'vitest'
import type { InfoHash } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'
import type { Draft } from './drafts.svelte.ts'
import { Seeding, type SeedingDeps } from './seeding.ts'

type Started = { wallet?: Wallet; store: { file: unknown }; stopped: boolean }
const { started } = vi.hoisted(() => ({ started: [] as Started[] }))

vi.mock('../../edge/swarm/swarm.ts', () => ({ createSwarm: async () => ({}) }))
vi.mock('../../edge/swarm/shop.ts', () => ({ createShop: () => ({}) }))
vi.mock('../../edge/storage/idb-journal.ts', () => ({ openIdbJournal: () => ({}) }))
vi.mock('../../edge/swarm/opfs-store.ts', () => ({ fileStore: (file: unknown) => ({ file }) }))
vi.mock('./drafts.svelte.ts', () => ({}))
vi.mock('./settings.ts', () => ({ sellPolicy: () => ({}) }))
vi.mock('../../edge/vendor/seed.ts', () => ({
  startSeed: async (deps: Started) => {
    const one: Started = { ...deps, stopped: false }
    started.push(one)
    return {
      fullCopies: liveCell(0),
      session: { peers: liveCell({ connected: 0, provenKeys: [] }) },
      shop: { ...liveCell({}), setPolicy: () => undefined },
      stop: async () => void (one.stopped = true),
    }
  },
}))

const infoHash = 'ab'.repeat(20) as InfoHash
const meta = { infoHash, pieces: 1 } as never
const wallet = {} as Wallet

function tab(first: Promise<Wallet | undefined>) {
  const release = { path: 'a/1/a.bin', priceCapMsat: 1000 }
  const seeding = new Seeding({
    vendor: { releases: liveCell([{ release, status: 'live' }]), torrent: async () => meta },
    keys: {},
    config: { iceServers: [], trackerUrl: 'ws://x' },
    pool: {},
    wallet: first,
    gifts: () => ({}),
    approved: () => [],
    onChange: () => undefined,
  } as unknown as SeedingDeps)
  seeding.start()
  return seeding
}
const draft = (file: unknown, copy: 'copied' | 'failed') =>
  ({ file, copied: Promise.resolve(), copy: { tag: copy } }) as unknown as Draft

test('a file that could not be copied is seeded by the tab that leads; a late wallet makes it sell', async () => {
  const leader = tab(Promise.resolve(undefined))
  await vi.waitFor(async () => expect((await navigator.locks.query()).held).toHaveLength(1))
  const other = tab(Promise.resolve(undefined))
  other.expect(meta, draft({ name: 'a.bin' }, 'failed'))
  await vi.waitFor(() => expect(started).toHaveLength(1), 5000)
  expect(started[0]).toMatchObject({ store: { file: { name: 'a.bin' } } })
  expect(started[0]!.wallet).toBeUndefined()

  leader.useWallet(wallet)
  await vi.waitFor(() => expect(started).toHaveLength(2), 5000)
  expect(started[0]!.stopped).toBe(true)
  expect(started[1]!.wallet).toBe(wallet)
  leader.useWallet(wallet)
  expect(started[1]!.stopped).toBe(false)
})
