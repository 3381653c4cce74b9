import { expect, onTestFinished, test } from 'vitest'
import { fromHex, sha256Hex, type Bytes, type PartyKey } from '../../core/bytes.ts'
import { newAllowance, type Payment } from '../../core/allowance/state.ts'
import { liveCell } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import type { Pool } from '../nostr/pool.ts'
import { memoryJournal } from '../swarm/memory.ts'
import type { AllowanceId, OpenSource, Source } from './api.ts'
import { Leader } from './leader.ts'
import { KeyRing, Records } from './records.ts'

const START_MS = 1_800_000_000_000
const PREIMAGE = '0d'.repeat(32)
const [PARENT, CHILD] = ['0a'.repeat(8), '0b'.repeat(8)] as [AllowanceId, AllowanceId]
const MINE: Source = { tag: 'wallet', id: 'mine' }

/** All that has been let go is done. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const onItsWay: Payment = {
  ...{ paymentHash: sha256Hex(fromHex(PREIMAGE)), bolt11: '', amount: msat(1000), ownAmount: false },
  ...{ maxFee: msat(0), description: '', requests: [], attempt: 1, askedAtMs: START_MS },
  ...{ countedAtMs: START_MS, deadAtMs: START_MS, fate: { tag: 'asked' } },
}

/** Two allowances, one cut from the other, as a keeper finds them; the vault opens when it is let. */
async function begin({
  open = [],
  revoked = false,
  locked = false,
}: { open?: readonly Payment[]; revoked?: boolean; locked?: boolean } = {}) {
  const journal = memoryJournal()
  const records = new Records(journal)
  const vault = {
    open: (sealed: Bytes): Promise<Bytes> =>
      locked ? Promise.reject(new Error('Give the passphrase.')) : Promise.resolve(sealed),
  }
  const terms = { name: 'pi', limit: msat(10_000), renewal: 'never', paused: false, revoked } as const
  for (const [id, source] of [
    [PARENT, MINE],
    [CHILD, { tag: 'allowance', id: PARENT }],
  ] as const) {
    // Of the parent's client, which is no point of the curve, nobody has the secret: nothing can be told to it.
    const key = id.repeat(4) as PartyKey
    await new KeyRing(journal, undefined).put(id, { service: key })
    await records.save(
      { id, source, home: 'here', client: key, service: key, relays: [], createdAtMs: START_MS },
      {
        ...newAllowance({ ...terms, may: { pay: true, receive: true } }, START_MS),
        open: new Map(open.map((payment) => [payment.paymentHash, payment])),
      },
    )
  }
  const served = new Set<object>()
  const pool: Pool = {
    status: liveCell([]),
    publish: () => Promise.resolve(),
    subscribe(filters) {
      served.add(filters)
      return () => served.delete(filters)
    },
    close: () => undefined,
  }
  const sources = liveCell<ReadonlyMap<string, OpenSource>>(new Map())
  const leader = await Leader.start({
    ...{ journal, sources, relays: [], nowMs: () => START_MS, openPool: () => pool },
    vault: { seal: (secret) => Promise.resolve(secret), open: (sealed) => vault.open(sealed) },
    lock: { acquire: () => Promise.resolve(() => undefined) },
  })
  onTestFinished(() => leader.close())
  return { leader, vault, sources, served }
}

test('a preimage that belongs to nothing is refused, also while another payment ends', async () => {
  const { leader } = await begin({ open: [onItsWay] })
  const [known, other] = await Promise.allSettled([
    leader.showPreimage(PARENT, PREIMAGE),
    leader.showPreimage(PARENT, '0e'.repeat(32)),
  ])
  expect(known).toMatchObject({ status: 'fulfilled' })
  expect(other).toMatchObject({ status: 'rejected', reason: { code: 'not-found' } })
})

/** Its keys could not be read; now they are being read again, until `read` lets them. */
async function reading(all: Awaited<ReturnType<typeof begin>>): Promise<() => void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  all.vault.open = async (sealed) => {
    asked.resolve()
    await promise
    return sealed
  }
  all.sources.set(new Map())
  await asked.promise
  return resolve
}

test('what is removed while its keys are read is not served', async () => {
  const all = await begin({ locked: true, revoked: true })
  expect(all.served.size).toBe(0)
  const read = await reading(all)
  await all.leader.remove(CHILD)
  await all.leader.remove(PARENT)
  read()
  await settled()
  expect(all.served.size).toBe(0)
})
