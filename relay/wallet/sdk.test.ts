/** The same service, asked by another implementation: Alby's client. */
import { NWCClient } from '@getalby/sdk/nwc'
import { afterEach, expect, test, vi } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { startService, type TestService } from './harness.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})
const begin = async (): Promise<{
  service: TestService
  open: (grantMsat: number) => Promise<NWCClient>
}> => {
  for (const method of ['error', 'info', 'warn'] as const)
    vi.spyOn(console, method).mockImplementation(() => undefined)
  const service = await startService()
  undo.push(() => service.stop())
  return {
    service,
    open: async (grantMsat) => {
      const { connection } = await service.wallet.openAccount({ grantMsat })
      const client = new NWCClient({ nostrWalletConnectUrl: connection })
      undo.push(() => client.close())
      return client
    },
  }
}

test('information, invoices, payments, look-ups and lists', async () => {
  const { open } = await begin()
  const [payer, payee] = [await open(10_000), await open(0)]
  expect(await payer.getWalletServiceInfo()).toMatchObject({ encryptions: ['nip44_v2', 'nip04'] })
  expect((await payer.getInfo()).network).toBe('regtest')
  expect(await payer.getBalance()).toEqual({ balance: 10_000 })
  expect(await payer.getBudget()).toEqual({})
  const made = await payee.makeInvoice({ amount: 1500, description: 'coffee' })
  const paid = await payer.payInvoice({ invoice: made.invoice })
  expect(sha256Hex(fromHex(paid.preimage))).toBe(made.payment_hash)
  expect(await payee.lookupInvoice({ invoice: made.invoice })).toMatchObject({
    state: 'settled',
    amount: 1500,
  })
  expect(await payer.listTransactions({})).toMatchObject({
    transactions: [{ type: 'outgoing', amount: 1500 }],
  })
  await expect(payer.payInvoice({ invoice: made.invoice })).rejects.toMatchObject({ code: 'PAYMENT_FAILED' })
})

test('hold invoices with notifications', async () => {
  const { open } = await begin()
  const [payer, payee] = [await open(10_000), await open(0)]
  const preimage = '0d'.repeat(32)
  const accepted = new Promise<unknown>((resolve) => {
    void payee
      .subscribeNotifications(({ notification }) => resolve(notification), ['hold_invoice_accepted'])
      .then((stop) => undo.push(stop))
  })
  const made = await payee.makeHoldInvoice({ amount: 4000, payment_hash: sha256Hex(fromHex(preimage)) })
  const paying = payer.payInvoice({ invoice: made.invoice })
  expect(await accepted).toMatchObject({ state: 'accepted', amount: 4000, payment_hash: made.payment_hash })
  await payee.settleHoldInvoice({ preimage })
  expect(await paying).toEqual({ preimage, fees_paid: 0 })
})

test('connections cut from another, with budgets that are kept', async () => {
  const { service, open } = await begin()
  const [payer, payee] = [await open(10_000), await open(0)]
  const secret = '0e'.repeat(32)
  const child = new NWCClient({ relayUrls: [service.url], walletPubkey: service.wallet.walletPubkey, secret })
  undo.push(() => child.close())
  const { wallet_pubkey } = await payer.createConnection({
    ...{ pubkey: child.publicKey, name: 'child', request_methods: ['pay_invoice', 'get_budget'] },
    ...{ max_amount: 1000, budget_renewal: 'monthly' },
  })
  expect(wallet_pubkey).toBe(service.wallet.walletPubkey)
  await child.payInvoice({ invoice: (await payee.makeInvoice({ amount: 900 })).invoice })
  expect(await child.getBudget()).toMatchObject({
    used_budget: 900,
    total_budget: 1000,
    renewal_period: 'monthly',
  })
  const { invoice } = await payee.makeInvoice({ amount: 101 })
  await expect(child.payInvoice({ invoice })).rejects.toMatchObject({ code: 'QUOTA_EXCEEDED' })
})
