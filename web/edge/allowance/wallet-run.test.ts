import { expect, test } from 'vitest'
import { newAllowance, type Allowance } from '../../core/allowance/state.ts'
import type { PartyKey } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { ConnectionChange, ConnectionState, Wallet } from '../wallet/wallet.ts'
import type { AllowanceId } from './api.ts'
import type { SourceState, SourceWatch } from './source-watch.ts'
import { WalletRun } from './wallet-run.ts'

const CLIENT = '11'.repeat(32) as PartyKey

/** An allowance of a wallet that answers when it is let; what is on disk is the last of `saved`. */
async function begin() {
  const told: { state: ConnectionState } = {
    state: {
      ...{ client: CLIENT, parent: '22'.repeat(32), name: 'pi', state: 'active', isolated: false },
      ...{ limit: msat(10_000), used: msat(0), locked: msat(0), available: msat(10_000) },
      ...{ renewal: 'never', may: new Set(['pay'] as const), createdAtMs: 0 },
    },
  }
  const gate: { open: Promise<void> } = { open: Promise.resolve() }
  const asked = { lists: 0 }
  const fake = createFakeMoney({ money: 'sandbox:x' }).wallet('mine', msat(0))
  const wallet: Wallet = {
    ...fake,
    async updateConnection(_, { limit, paused }: ConnectionChange) {
      await gate.open
      const state = paused === undefined ? told.state.state : paused ? 'paused' : 'active'
      told.state = { ...told.state, state, ...(limit !== undefined && { limit }) }
      return told.state
    },
    deleteConnection: () => gate.open,
    listConnections: () => (asked.lists++, Promise.resolve([told.state])),
  }
  const info = await fake.info()
  const features = new Set([...info.features, 'manage-connections' as const])
  const state = liveCell<SourceState>({ connected: true, info: { ...info, features } })
  const source: SourceWatch = {
    ...{ wallet, state, on: () => () => undefined, refresh: () => undefined, stop: () => undefined },
  }
  const saved: Allowance[] = []
  const disk: { open: Promise<void> } = { open: Promise.resolve() }
  const meta = {
    ...({
      id: '00'.repeat(8) as AllowanceId,
      home: 'wallet',
      source: { tag: 'wallet', id: 'mine' },
    } as const),
    ...{ client: CLIENT, service: CLIENT, relays: [], createdAtMs: 0 },
  }
  const terms = {
    ...{ name: 'pi', limit: msat(10_000), renewal: 'never' as const, paused: false, revoked: false },
    may: { pay: true, receive: false },
  }
  const run = new WalletRun(
    { meta, state: newAllowance(terms, 0) },
    async (next) => {
      await disk.open
      saved.push(next)
    },
    () => undefined,
  )
  run.useSource(source)
  await run.refresh()
  return { run, told, gate, disk, saved, state, asked }
}

test('changes that are asked for at once are all kept, and what is revoked stays revoked', async () => {
  const { run, disk, saved } = await begin()
  const written = Promise.withResolvers<void>()
  disk.open = written.promise
  const all = [run.change({ limit: msat(2_000) }), run.change({ paused: true }), run.revoke()]
  const last = run.change({ name: 'other' })
  written.resolve()
  await Promise.all([...all, last])
  const expected = { limit: 2_000, paused: true, revoked: true, name: 'other' }
  expect(saved.at(-1)?.terms).toMatchObject(expected)
  expect(run.loaded.state.terms).toMatchObject(expected)
})

test('two sums that are added at once are both added', async () => {
  const { run, told, gate } = await begin()
  const answered = Promise.withResolvers<void>()
  gate.open = answered.promise
  const both = [run.topUp(msat(5_000)), run.topUp(msat(5_000))]
  answered.resolve()
  await Promise.all(both)
  expect(told.state.limit).toBe(20_000)
})

test('what happened while the wallet could not be reached is asked for when it is back', async () => {
  const { run, told, state, asked } = await begin()
  const before = asked.lists
  told.state = { ...told.state, used: msat(4_000) }
  const now = state.get()
  state.set({ ...now, connected: false })
  expect(asked.lists).toBe(before)
  state.set({ ...now, connected: true })
  await run.refresh()
  expect(asked.lists).toBe(before + 2)
  expect(run.told?.used).toBe(4_000)
})
