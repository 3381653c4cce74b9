import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { fromHex, sha256Hex, toHex, type Sha256Hex } from '../../../web/core/bytes.ts'
import { encodeInvoice } from '../../../web/core/money/bolt11.ts'
import type { Msat } from '../../../web/core/money/msat.ts'
import { openLightning } from '../../lightning.ts'
import { audit } from '../audit.ts'
import { startService, type TestService } from '../harness.ts'
import { rawClient, type RawClient, type RawReply } from '../raw-client.ts'
import { NODE_LEDGER } from '../files.ts'
import { nameInvoice, startFakeLnd, type FakeLnd } from './lnd-fake.ts'

const secret = new Uint8Array(32).fill(3)
const OWN_MSAT = 1_000_000
const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

type Node = FakeLnd
async function fakeNode(port?: number): Promise<Node> {
  const node = await startFakeLnd(port)
  undo.push(() => node.stop())
  return node
}
function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'satpatch-lnd-'))
  undo.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}
async function serve(node: FakeLnd, dataDir: string, holdLimitMs = 600_000): Promise<TestService> {
  const lightning = await openLightning({ url: node.url, macaroon: node.macaroon })
  const service = await startService({ dataDir, secret, lightning, holdLimitMs })
  let stopped: Promise<void> | undefined
  const stop = service.stop.bind(service)
  service.stop = () => (stopped ??= stop())
  undo.push(() => service.stop())
  return service
}
const ownerOf = (service: TestService): RawClient =>
  rawClient(service, readFileSync(join(service.dataDir, 'owner-wallet.txt'), 'utf8').trim())
async function begin(options: { holdLimitMs?: number } = {}) {
  const node = await fakeNode()
  const service = await serve(node, directory(), options.holdLimitMs)
  service.wallet.endow(OWN_MSAT)
  return { node, service, owner: ownerOf(service) }
}
/** The answer, whenever it comes. */
function asked(
  service: TestService,
  client: RawClient,
  method: string,
  params: object = {},
): Promise<RawReply> {
  const event = client.event({ method, params })
  const reply = client.onReply(event.id)
  service.core.publish(event)
  return reply
}
async function result(
  service: TestService,
  client: RawClient,
  method: string,
  params: object = {},
): Promise<Record<string, unknown>> {
  const reply = await asked(service, client, method, params)
  expect(reply.error).toBeNull()
  return reply.result ?? {}
}
const balance = async (service: TestService, client: RawClient): Promise<unknown> =>
  (await result(service, client, 'get_balance'))['balance']
const until = (what: () => unknown): Promise<unknown> => vi.waitUntil(what, { timeout: 10_000, interval: 10 })

/** Somebody else's invoice, which the fake node can pay. */
function invoiceElsewhere(node: FakeLnd, sats = 100): { invoice: string; hash: string; preimage: string } {
  const preimage = toHex(randomBytes(32))
  const hash = sha256Hex(fromHex(preimage))
  const invoice = encodeInvoice(
    {
      ...{ prefix: 'lnbcrt', amount: (sats * 1000) as Msat, paymentHash: hash as Sha256Hex },
      ...{ paymentSecret: toHex(randomBytes(32)), description: 'elsewhere', createdAtMs: Date.now() },
      expirySeconds: 600,
    },
    new Uint8Array(32).fill(9),
  )
  nameInvoice(invoice, hash)
  node.outcome.preimages.set(hash, preimage)
  return { invoice, hash, preimage }
}

test.each<[string, (node: Node) => void, RegExp]>([
  ['a macaroon of another node', (node) => (node.macaroon = 'cd'.repeat(60)), /does not take this macaroon/],
  ['a locked wallet', (node) => (node.state = 'LOCKED'), /locked.*lncli unlock/],
  ['a node that starts', (node) => (node.state = 'WAITING_TO_START'), /is starting/],
  ['a node that is behind', (node) => (node.synced = false), /catching up with the chain/],
])('%s is refused in words', async (_, spoil, words) => {
  const node = await fakeNode()
  const settings = { url: node.url, macaroon: node.macaroon }
  spoil(node)
  await expect(openLightning(settings)).rejects.toThrow(words)
})

test('an address where nothing or something else answers is refused in words', async () => {
  const node = await fakeNode()
  await node.stop()
  const macaroon = 'ab'.repeat(60)
  await expect(openLightning({ url: node.url, macaroon })).rejects.toThrow(/does not answer at/)
  await expect(openLightning({ url: 'http://example.com', macaroon })).rejects.toThrow(/use https/)
  await expect(openLightning({ url: 'nonsense', macaroon })).rejects.toThrow(/no address/)
  await expect(openLightning({ url: node.url, macaroon: '/nowhere' })).rejects.toThrow(/cannot be read from/)
})

test('pays through the node: the reserve is locked, the real fee is charged, the rest is back', async () => {
  const { node, service, owner } = await begin()
  node.outcome.feeMsat = 300
  const { invoice, hash, preimage } = invoiceElsewhere(node)
  const paid = await result(service, owner, 'pay_invoice', { invoice, metadata: { for: 'a pump' } })
  expect(paid).toEqual({ preimage, fees_paid: 300 })
  expect(node.sent).toMatchObject([{ payment_request: invoice, fee_limit_msat: '5000' }])
  expect(await balance(service, owner)).toBe(OWN_MSAT - 100_300)
  expect(await result(service, owner, 'lookup_invoice', { payment_hash: hash })).toMatchObject({
    ...{ type: 'outgoing', state: 'settled', amount: 100_000, fees_paid: 300, preimage },
    metadata: { for: 'a pump' },
  })
  expect((await asked(service, owner, 'pay_invoice', { invoice })).error?.code).toBe('PAYMENT_FAILED')
  expect(node.sent).toHaveLength(1)
  expect(service.wallet.audit().problems).toEqual([])
})

test('a payment that fails gives everything back and may be tried again', async () => {
  const { node, service, owner } = await begin()
  const { invoice, preimage } = invoiceElsewhere(node)
  node.outcome.next = 'failed'
  const failed = await asked(service, owner, 'pay_invoice', { invoice })
  expect(failed.error).toMatchObject({ code: 'PAYMENT_FAILED', message: /no route.*sats are back/ })
  expect(await balance(service, owner)).toBe(OWN_MSAT)
  node.outcome.next = 'paid'
  expect((await result(service, owner, 'pay_invoice', { invoice }))['preimage']).toBe(preimage)
  expect(await balance(service, owner)).toBe(OWN_MSAT - 100_000)
  const { transactions } = await result(service, owner, 'list_transactions', { unpaid: true })
  expect(transactions).toMatchObject([{ state: 'settled' }, { state: 'failed' }])
  expect(service.wallet.audit().problems).toEqual([])
})

test('a connection lost after the node took the payment: looked up, not paid again', async () => {
  const { node, service, owner } = await begin()
  const { invoice, preimage } = invoiceElsewhere(node)
  node.outcome.next = 'lost'
  expect((await result(service, owner, 'pay_invoice', { invoice }))['preimage']).toBe(preimage)
  expect(node.sent).toHaveLength(1)
  expect(service.wallet.audit().problems).toEqual([])
})

test('a node that did not hear of the payment is told again', async () => {
  const { node, service, owner } = await begin()
  const { invoice, preimage } = invoiceElsewhere(node)
  node.outcome.next = 'deaf'
  const reply = asked(service, owner, 'pay_invoice', { invoice })
  await until(() => service.wallet.lightning()?.trouble)
  expect(await balance(service, owner)).toBe(OWN_MSAT - 105_000)
  node.outcome.next = 'paid'
  expect((await reply).result?.['preimage']).toBe(preimage)
  expect(service.wallet.lightning()?.trouble).toBeUndefined()
  expect(node.sent).toHaveLength(1)
})

test('what was in flight when the service ended is tracked by the next, and answered', async () => {
  const { node, service, owner } = await begin()
  const one = invoiceElsewhere(node)
  const two = invoiceElsewhere(node)
  node.outcome.next = 'waits'
  const events = [one, two].map(({ invoice }) => owner.event({ method: 'pay_invoice', params: { invoice } }))
  for (const event of events) service.core.publish(event)
  await until(() => node.sent.length === 2)
  await service.stop()
  node.finish(one.hash, 'SUCCEEDED')
  const later = await serve(node, service.dataDir)
  const client = ownerOf(later)
  await until(async () => (await balance(later, client)) === OWN_MSAT - 100_000 - 105_000)
  node.finish(two.hash, 'FAILED')
  await until(async () => (await balance(later, client)) === OWN_MSAT - 100_000)
  expect(node.sent).toHaveLength(2)
  // Who asks again with the same request gets the answer.
  const replies = events.map((event) => client.send(event)[0])
  expect(replies[0]?.result?.['preimage']).toBe(one.preimage)
  expect(replies[1]?.error?.code).toBe('PAYMENT_FAILED')
  expect(later.wallet.audit().problems).toEqual([])
})

test('a payment that the node keeps in flight for hours stays locked, and comes back when the node gives it up', async () => {
  const { node, service, owner } = await begin()
  const { invoice, hash } = invoiceElsewhere(node)
  node.outcome.next = 'waits'
  const reply = asked(service, owner, 'pay_invoice', { invoice })
  await until(() => node.sent.length === 1)
  // As after a kill of the node: its HTLC waits for the channel to close, longer than anything is told again.
  service.advance(3 * 3600_000)
  node.drop()
  await until(() => node.tracked.includes(hash))
  expect(await balance(service, owner)).toBe(OWN_MSAT - 105_000)
  expect(service.wallet.audit().problems).toEqual([])
  node.finish(hash, 'FAILED')
  expect((await reply).error?.code).toBe('PAYMENT_FAILED')
  expect(await balance(service, owner)).toBe(OWN_MSAT)
  expect(node.sent).toHaveLength(1)
  expect(service.wallet.audit().problems).toEqual([])
})

test('sats that come in are credited once, also those that came while the service was down', async () => {
  const { node, service, owner } = await begin()
  const made = [
    await result(service, owner, 'make_invoice', { amount: 5000, preimage: '11'.repeat(32) }),
    await result(service, owner, 'make_invoice', { amount: 7000 }),
  ]
  const [first = '', second = ''] = made.map((one) => String(one['payment_hash']))
  node.receive(first)
  await until(async () => (await balance(service, owner)) === OWN_MSAT + 5000)
  await until(() => owner.notifications.length > 0)
  expect(owner.notifications).toMatchObject([{ body: { notification_type: 'payment_received' } }])
  await service.stop()
  node.receive(second)
  const later = await serve(node, service.dataDir)
  const client = ownerOf(later)
  await until(async () => (await balance(later, client)) === OWN_MSAT + 12_000)
  expect(later.wallet.audit().problems).toEqual([])
})

test('the event stream broken off, what came meanwhile is looked up', async () => {
  const { node, service, owner } = await begin()
  const { payment_hash } = await result(service, owner, 'make_invoice', { amount: 5000 })
  node.drop()
  const invoice = node.invoices.get(String(payment_hash))
  Object.assign(invoice ?? {}, { state: 'SETTLED', paidMsat: 5000 })
  await until(async () => (await balance(service, owner)) === OWN_MSAT + 5000)
})

test('a hold invoice: locked at the node, settled with its secret; one that nobody decides is cancelled', async () => {
  const { node, service, owner } = await begin({ holdLimitMs: 1 })
  const preimage = toHex(randomBytes(32))
  const payment_hash = sha256Hex(fromHex(preimage))
  const hold = { amount: 5000, description: 'hold', expiry: 600 }
  await result(service, owner, 'make_hold_invoice', { ...hold, payment_hash })
  expect((await asked(service, owner, 'settle_hold_invoice', { preimage })).error?.message).toMatch(
    /Nothing is locked/,
  )
  node.receive(payment_hash)
  const accepted = (): boolean =>
    owner.notifications.some(({ body }) => JSON.stringify(body).includes('hold_invoice_accepted'))
  await until(accepted)
  expect(await balance(service, owner)).toBe(OWN_MSAT)
  await result(service, owner, 'settle_hold_invoice', { preimage })
  expect(await balance(service, owner)).toBe(OWN_MSAT + 5000)

  const other = sha256Hex(fromHex(toHex(randomBytes(32))))
  await result(service, owner, 'make_hold_invoice', { ...hold, payment_hash: other })
  node.receive(other)
  await until(() => node.invoices.get(other)?.state === 'CANCELED')
  expect(service.wallet.audit().problems).toEqual([])
}, 30_000)

test('between two accounts of one service the books settle, and the node’s invoice is dead', async () => {
  const { node, service, owner } = await begin()
  const { connection } = await service.wallet.openAccount({ grantMsat: 10_000 })
  const other = rawClient(service, connection)
  expect(await balance(service, other)).toBe(0)
  const made = await result(service, other, 'make_invoice', { amount: 5000 })
  await result(service, owner, 'pay_invoice', { invoice: made['invoice'] })
  expect(node.sent).toEqual([])
  expect(node.invoices.get(String(made['payment_hash']))?.state).toBe('CANCELED')
  expect([await balance(service, owner), await balance(service, other)]).toEqual([OWN_MSAT - 5000, 5000])

  // One that somebody outside has paid is not paid again.
  const paid = await result(service, other, 'make_invoice', { amount: 5000 })
  node.receive(String(paid['payment_hash']))
  const again = await asked(service, owner, 'pay_invoice', { invoice: paid['invoice'] })
  expect(again.error?.code).toBe('PAYMENT_FAILED')
  await until(async () => (await balance(service, other)) === 10_000)
  expect(service.wallet.audit().problems).toEqual([])
})

test('says that it is a node: its network and the least amount, which is kept', async () => {
  const { node, service, owner } = await begin()
  expect(await result(service, owner, 'get_info')).toMatchObject({
    ...{ network: 'regtest', block_height: 500 },
    satpatch: { money: `regtest:${'cd'.repeat(32)}`, least_amount: 1000 },
  })
  expect((await asked(service, owner, 'make_invoice', { amount: 999 })).error?.message).toMatch(/1 sat/)
  const preimage = toHex(randomBytes(32))
  node.outcome.preimages.set(sha256Hex(fromHex(preimage)), preimage)
  const keysend = { amount: 2000, pubkey: `03${'22'.repeat(32)}`, preimage }
  expect((await result(service, owner, 'pay_keysend', keysend))['preimage']).toBe(preimage)
  expect((await asked(service, owner, 'pay_keysend', keysend)).error?.code).toBe('PAYMENT_FAILED')
  expect(node.sent).toHaveLength(1)
})

test('no account has more than the node can send, and a ledger stays with its node', async () => {
  const { node, service } = await begin()
  expect(() => service.wallet.endow(2_000_000_000)).toThrow(/channels can send 1000000/)
  expect(() => service.wallet.endow(1000)).toThrow(/given 1000 sats already/)
  await service.stop()
  expect(audit(join(service.dataDir, NODE_LEDGER))).toMatchObject({ ok: true, ofNodeMsat: OWN_MSAT })
  const { node: open, status } = await openLightning({ url: node.url, macaroon: node.macaroon })
  undo.push(() => open.close())
  const other = { node: open, status: { ...status, pubkey: `03${'99'.repeat(32)}` } }
  await expect(startService({ dataDir: service.dataDir, secret, lightning: other })).rejects.toThrow(
    /is of the Lightning node/,
  )
})
