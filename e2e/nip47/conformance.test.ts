import { randomBytes } from 'node:crypto'
import { nip44 } from 'nostr-tools'
import { afterEach, expect, test, vi } from 'vitest'
import { signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { startService, type TestService } from '../../relay/wallet/harness.ts'
import { ERROR_CODES, type Fields, type Reply } from './client.ts'
import { allChecks, runSuite } from './run.ts'
import { MOST_MSAT, type Row } from './suite.ts'

/** On this machine; what should not happen is looked up afterwards all the same. */
const SILENCE_MS = 300
const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})
const quiet = (): void => {
  for (const method of ['error', 'info', 'warn', 'log'] as const)
    vi.spyOn(console, method).mockImplementation(() => undefined)
}

test('the wallet service passes every check for play money', async () => {
  quiet()
  const service = await startService({ feePpm: 10_000, schedule: (run) => void setImmediate(run) })
  undo.push(() => service.stop())
  const open = async (): Promise<string> =>
    (await service.wallet.openAccount({ grantMsat: MOST_MSAT })).connection
  const rows = await runSuite({
    payerUri: await open(),
    payeeUri: await open(),
    checks: allChecks({ sdk: true }),
    silenceMs: SILENCE_MS,
  })
  const told = (verdict: Row['verdict']): string[] =>
    rows
      .filter((row) => row.verdict === verdict)
      .map(({ method, check, why }) => `${method}: ${check}${verdict === 'wrong' ? ` (${why})` : ''}`)
  expect(told('wrong')).toEqual([])
  expect(told('lacks')).toEqual([
    'pay_keysend: pays a node key',
    'NostrWebLNProvider: keysend',
    'NostrWebLNProvider: signMessage',
  ])
  expect(service.wallet.audit().problems).toEqual([])
}, 120_000)

const secret = new Uint8Array(32).fill(7)

/** From now on the service's answers are what `lie` makes of them, rightly encrypted and signed. */
function corrupt({ core }: TestService, lie: (reply: Reply) => Reply): void {
  const publish = core.publish.bind(core)
  core.publish = (event: NostrEvent) => {
    const client = event.tags.find(([name]) => name === 'p')?.[1] ?? ''
    const nip44ed = event.tags.some(([, value]) => value === 'nip44_v2')
    if (event.kind !== 23195 || !nip44ed) return publish(event)
    const key = nip44.getConversationKey(secret, client)
    const reply = lie(JSON.parse(nip44.decrypt(event.content, key)) as Reply)
    const content = nip44.encrypt(JSON.stringify(reply), key)
    return publish(signEvent({ ...event, content }, secret, randomBytes(32)))
  }
}
const within = (reply: Reply, method: string, fields: Fields): Reply =>
  reply.result_type === method && reply.result ? { ...reply, result: { ...reply.result, ...fields } } : reply

test.each<[string, string, (reply: Reply) => Reply]>([
  ['names another result_type', 'get_balance', (reply) => ({ ...reply, result_type: 'get_blance' })],
  [
    'invents an error code',
    'errors',
    (reply) => (reply.error ? { ...reply, error: { ...reply.error, code: 'NO' } } : reply),
  ],
  [
    'gives another preimage',
    'pay_invoice',
    (reply) => within(reply, 'pay_invoice', { preimage: '00'.repeat(32) }),
  ],
  ['never moves the balance', 'pay_invoice', (reply) => within(reply, 'get_balance', { balance: 50_000 })],
  ['makes dearer invoices', 'make_invoice', (reply) => within(reply, 'make_invoice', { amount: 1001 })],
  ['lists nothing', 'list_transactions', (reply) => within(reply, 'list_transactions', { transactions: [] })],
  [
    'forgets when it settled',
    'lookup_invoice',
    (reply) => within(reply, 'lookup_invoice', { settled_at: 1 }),
  ],
])('a wallet that %s is found out at %s', async (_, method, lie) => {
  const service = await startService({ secret, schedule: (run) => void setImmediate(run) })
  undo.push(() => service.stop())
  const open = async (): Promise<string> =>
    (await service.wallet.openAccount({ grantMsat: 50_000 })).connection
  const [payerUri, payeeUri] = [await open(), await open()]
  corrupt(service, lie)
  const quick = allChecks({ sdk: false }).filter(
    (check) => check.method === method && !/refuses garbage|twice|left alone/.test(check.check),
  )
  const rows = await runSuite({ payerUri, payeeUri, checks: quick, silenceMs: SILENCE_MS })
  expect(rows.map(({ verdict }) => verdict)).toContain('wrong')
})

test('knows the codes of the standard', () => {
  expect([...ERROR_CODES]).toHaveLength(11)
})
