import { expect, onTestFinished, test } from 'vitest'
import { newAllowance } from '../../core/allowance/state.ts'
import { utf8, type PartyKey } from '../../core/bytes.ts'
import { msat } from '../../core/money/msat.ts'
import { memoryJournal } from '../swarm/memory.ts'
import type { AllowanceId } from './api.ts'
import { cutting, type Below } from './below.ts'
import { holdersOf, MAX_CUT_OFF } from './holders.ts'
import { Records, type Meta } from './records.ts'
import { Running } from './running.ts'

const id = (n: number): AllowanceId => n.toString(16).padStart(16, '0') as AllowanceId
const key = (n: number): PartyKey => n.toString(16).padStart(64, '0') as PartyKey
const terms = {
  ...{ name: '語'.repeat(100), limit: msat(1000), renewal: 'daily' as const },
  may: { pay: true, receive: true },
}

async function running(n: number, above: AllowanceId | undefined, below?: Below): Promise<Running> {
  const meta: Meta = {
    ...{ id: id(n), home: 'here', relays: [], createdAtMs: n, client: key(n), service: key(n + 1000) },
    source: above === undefined ? { tag: 'wallet', id: 'mine' } : { tag: 'allowance', id: above },
    asked: true,
  }
  const made = await Running.load(
    {
      ...{ meta, records: new Records(memoryJournal()), nowMs: () => 0, below, onChange: () => undefined },
      ...{ claimed: () => false, log: () => undefined },
    },
    newAllowance({ ...terms, paused: false, revoked: false }, 0),
  )
  onTestFinished(() => made.stop())
  return made
}

/** An allowance whose holder cuts others from it; `children` are all that were made. */
async function begin() {
  const children: Running[] = []
  const never = (): Promise<void> => Promise.reject(new Error('not here'))
  const holders = holdersOf({
    keeper: { setLimit: never, pause: never, resume: never, change: never, revoke: never },
    children: (of) => children.filter(({ meta: { source } }) => source.id === of),
    running: () => undefined,
    async make({ source }, client) {
      const made = await running(Number.parseInt(client, 16), id(Number.parseInt(source.id, 16)))
      children.push(made)
      return made.meta
    },
    depthBelow: () => 2,
  })
  const top = await running(1, undefined)
  const below = holders.below(top.meta)
  if (!below) throw new Error('nothing can be cut')
  return { below, children }
}

test('a holder who asks for many at once has no more than the most, and one key has one', async () => {
  const { below, children } = await begin()
  const twice = await Promise.all([below.cut(terms, key(2)), below.cut(terms, key(2))])
  expect(twice[0]).toBe(twice[1])
  const many = Array.from({ length: MAX_CUT_OFF + 5 }, (_, n) => below.cut(terms, key(10 + n)))
  const refused = (await Promise.allSettled(many)).filter(({ status }) => status === 'rejected')
  expect(children).toHaveLength(MAX_CUT_OFF)
  expect(refused).toHaveLength(6)
})

test('nothing is cut for a key that is none: it could be told nothing', async () => {
  const { below, children } = await begin()
  const top = await running(1, undefined, below)
  const asked = { name: 'pi', request_methods: ['pay_invoice'], max_amount: 1000 }
  const cut = (pubkey: string) => cutting(top, 'create_connection', { ...asked, pubkey })
  await expect(cut('0a'.repeat(32))).rejects.toMatchObject({ code: 'OTHER' })
  await expect(cut('ff'.repeat(32))).rejects.toMatchObject({ code: 'OTHER' })
  expect(children).toHaveLength(0)
  await cut('0c'.repeat(32))
  expect(children).toHaveLength(1)
})

test('a list of more than one answer holds comes in pages', async () => {
  const { below, children } = await begin()
  for (let n = 0; n < 90; n++) children.push(await running(100 + n, id(1)))
  const top = await running(1, undefined, below)
  const seen: unknown[] = []
  for (let pages = 0; pages < 9 && seen.length < 90; pages++) {
    const answer = (await cutting(top, 'list_connections', { offset: seen.length })) as {
      connections: unknown[]
      total: number
    }
    expect(utf8(JSON.stringify(answer)).length).toBeLessThan(41_000)
    expect(answer.total).toBe(90)
    seen.push(...answer.connections)
  }
  expect(seen).toHaveLength(90)
})
