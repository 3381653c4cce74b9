import { beforeEach, expect, test, vi } from 'vitest'
import { liveCell } from '../../core/live.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'

const fakes = vi.hoisted(() => ({
  connecting: [] as ((wallet: unknown) => void)[],
  reading: [] as (() => void)[],
  kept: [] as unknown[],
  open: undefined as unknown,
  used: undefined as unknown,
}))
vi.mock('../../edge/storage/idb-journal.ts', () => ({ openIdbJournal: () => ({}) }))
vi.mock('../../edge/relay-config.ts', () => ({
  fetchRelayConfig: () => Promise.resolve({ money: 'sandbox:relay', nostrUrl: '' }),
}))
vi.mock('../../edge/nostr/pool.ts', () => ({ createPool: () => ({}) }))
vi.mock('../../edge/swarm/swarm.ts', () => ({}))
vi.mock('../../edge/swarm/opfs-store.ts', () => ({ openOpfsStore: () => undefined }))
vi.mock('../../edge/distributor/distributor.ts', () => ({
  createDistributor: () => ({
    subscribe: () => undefined,
    setWallet: (wallet: unknown) => (fakes.used = wallet),
  }),
  defaultSettings: () => ({}),
  loadSettings: () => Promise.resolve(undefined),
}))
vi.mock('../../edge/wallet/nwc.ts', () => ({
  connectNwc: () => new Promise((done) => fakes.connecting.push(done)),
}))
vi.mock('../../edge/wallet/sweeping.ts', () => ({
  openSweeping: () => Promise.resolve({ state: { subscribe: () => undefined }, setWallet: () => undefined }),
}))
vi.mock('../wallet/vault.ts', () => ({ browserVault: () => Promise.resolve({}) }))
vi.mock('../wallet/wallets.svelte.ts', () => ({
  wallets: {
    begin: () => new Promise<void>((done) => fakes.reading.push(done)),
    get open() {
      return fakes.open
    },
  },
}))
vi.mock('./conditions.ts', () => ({ watchConditions: () => undefined }))
vi.mock('./kept.ts', () => ({
  keptIdentity: () => Promise.resolve({}),
  keepConfig: () => Promise.resolve(),
  keptConfig: () => Promise.resolve(undefined),
  keptWallet: () => Promise.resolve(undefined),
  keepWallet: (_: unknown, wallet: unknown) => Promise.resolve(void fakes.kept.push(wallet)),
  keptPlayConnection: () => Promise.resolve('nostr+walletconnect://play'),
  keepPlayConnection: () => Promise.resolve(),
  keepOn: () => undefined,
  wasOn: () => false,
}))

const walletOf = () => ({ close: vi.fn() }) as unknown as Wallet & { close: ReturnType<typeof vi.fn> }
const patience = { timeout: 8000, interval: 5 }
const soon = () => new Promise(setImmediate)

beforeEach(() => {
  vi.resetModules()
  Object.assign(fakes, { connecting: [], reading: [], kept: [], used: undefined })
  vi.stubGlobal('addEventListener', () => undefined)
  vi.stubGlobal('location', { origin: 'http://relay.test' })
  vi.stubGlobal('navigator', {
    locks: {
      request: (_: string, ...rest: unknown[]) => (rest.at(-1) as (lock: object) => unknown)({}),
    },
    storage: { persisted: () => Promise.resolve(true), estimate: () => Promise.resolve({}) },
  })
  return () => vi.unstubAllGlobals()
})

async function opening() {
  const { seed } = await import('./seed.svelte.ts')
  seed.begin()
  await vi.waitUntil(() => fakes.connecting.length === 1, patience)
  expect(seed.wallet.tag).toBe('opening')
  return seed
}

test('an own wallet that is chosen while play money is opened is the one that is used', async () => {
  const seed = await opening()
  const own = walletOf()
  fakes.open = liveCell(new Map([['own', { wallet: own }]]))
  const chosen = seed.useOwn('own')
  await vi.waitUntil(() => fakes.reading.length === 1, patience)
  fakes.reading[0]!()
  await chosen
  const play = walletOf()
  fakes.connecting[0]!(play)
  await soon()
  expect(fakes.used).toBe(own)
  expect(seed.wallet).toEqual({ tag: 'open', from: 'own' })
  expect(fakes.kept.at(-1)).toEqual({ from: 'own', id: 'own' })
  expect(play.close).toHaveBeenCalled()
})

test('of two wallets that are chosen one after the other the later is followed, alone', async () => {
  const seed = await opening()
  const [one, other] = [walletOf(), walletOf()]
  const open = liveCell(
    new Map([
      ['one', { wallet: one }],
      ['other', { wallet: other }],
    ]),
  )
  fakes.open = open
  const first = seed.useOwn('one')
  await vi.waitUntil(() => fakes.reading.length === 1, patience)
  const second = seed.useOwn('other')
  await vi.waitUntil(() => fakes.reading.length === 2, patience)
  fakes.reading[1]!()
  fakes.reading[0]!()
  await Promise.all([first, second])
  expect(fakes.used).toBe(other)
  open.set(new Map([['one', { wallet: one }]]))
  expect(fakes.used).toBeUndefined() // what is followed was locked
})
