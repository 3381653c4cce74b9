/** The same wallets, asked by the clients that people have: Alby's `NWCClient` and its WebLN provider. */
import { NostrWebLNProvider } from '@getalby/sdk/webln'
import { NWCClient, type Nip47Notification } from '@getalby/sdk/nwc'
import { randomBytes } from 'node:crypto'
import { must, SAT, sha256, type Check, type Context } from './suite.ts'

const NWC = 'NWCClient'
const WEBLN = 'NostrWebLNProvider'

async function withClient<T>(uri: string, run: (client: NWCClient) => Promise<T>): Promise<T> {
  const client = new NWCClient({ nostrWalletConnectUrl: uri })
  try {
    return await run(client)
  } finally {
    client.close()
  }
}
async function withWebln<T>(uri: string, run: (provider: NostrWebLNProvider) => Promise<T>): Promise<T> {
  const provider = new NostrWebLNProvider({ nostrWalletConnectUrl: uri })
  try {
    await provider.enable()
    return await run(provider)
  } finally {
    provider.close()
  }
}

/** WebLN's answers; their types are in a package of their own. */
type Told = {
  methods: string[]
  balance: number
  paymentRequest: string
  paid: boolean
  preimage: string
  signature: string
}
const told = (answer: unknown): Told => answer as Told

const nwc = (
  method: string,
  needs: string[],
  run: (client: NWCClient, context: Context) => Promise<void>,
): Check => ({
  method: NWC,
  check: method,
  needs,
  run: (context) => withClient(context.payerUri, (client) => run(client, context)),
})
const webln = (
  method: string,
  needs: string[],
  run: (provider: NostrWebLNProvider, context: Context) => Promise<void>,
): Check => ({
  method: WEBLN,
  check: method,
  needs,
  run: (context) => withWebln(context.payerUri, (provider) => run(provider, context)),
})

export const sdkChecks: readonly Check[] = [
  nwc(
    'getWalletServiceInfo, getInfo, getBalance',
    ['payer: get_info', 'payer: get_balance'],
    async (client) => {
      must((await client.getWalletServiceInfo()).capabilities.includes('get_info'), 'capabilities')
      must((await client.getInfo()).methods.length > 0, 'methods')
      must(Number.isSafeInteger((await client.getBalance()).balance), 'balance')
    },
  ),
  nwc('getBudget', ['payer: get_budget'], async (client) => {
    must(typeof (await client.getBudget()) === 'object', 'budget')
  }),
  nwc(
    'makeInvoice, payInvoice, lookupInvoice',
    ['payer: pay_invoice', 'payee: make_invoice'],
    (payer, context) =>
      withClient(context.payeeUri, async (payee) => {
        const made = await payee.makeInvoice({ amount: SAT, description: 'sdk' })
        context.spend(SAT)
        const { preimage } = await payer.payInvoice({ invoice: made.invoice })
        must(sha256(preimage) === made.payment_hash, 'preimage')
        must((await payee.lookupInvoice({ payment_hash: made.payment_hash })).settled_at, 'settled_at')
        must((await payer.listTransactions({ limit: 1 })).transactions.length === 1, 'listTransactions')
      }),
  ),
  nwc(
    'makeHoldInvoice, subscribeNotifications, settleHoldInvoice, cancelHoldInvoice',
    ['payee: make_hold_invoice', 'payee: settle_hold_invoice', 'payee: notifications', 'payer: pay_invoice'],
    (payer, context) =>
      withClient(context.payeeUri, async (payee) => {
        let accept: (notification: Nip47Notification) => void = () => undefined
        const stop = await payee.subscribeNotifications((one) => accept(one), ['hold_invoice_accepted'])
        const pay = async () => {
          const preimage = randomBytes(32).toString('hex')
          const made = await payee.makeHoldInvoice({ amount: SAT, payment_hash: sha256(preimage) })
          const accepted = new Promise<void>((resolve) => (accept = () => resolve()))
          context.spend(SAT)
          const paying = payer.payInvoice({ invoice: made.invoice })
          paying.catch(() => undefined)
          await accepted
          return { preimage, made, paying }
        }
        const kept = await pay()
        await payee.settleHoldInvoice({ preimage: kept.preimage })
        must((await kept.paying).preimage === kept.preimage, 'preimage')
        const given = await pay()
        await payee.cancelHoldInvoice({ payment_hash: given.made.payment_hash })
        const refused = await given.paying.then(
          () => false,
          () => true,
        )
        must(refused, 'a cancelled hold was paid')
        stop()
      }),
  ),
  webln('enable, getInfo, getBalance', ['payer: get_info', 'payer: get_balance'], async (provider) => {
    must(told(await provider.getInfo()).methods.length > 0, 'methods')
    must(told(await provider.getBalance()).balance >= 0, 'balance')
  }),
  webln('makeInvoice, lookupInvoice', ['payer: make_invoice', 'payer: lookup_invoice'], async (provider) => {
    const { paymentRequest } = told(await provider.makeInvoice({ amount: 1, defaultMemo: 'webln' }))
    const found = told(await provider.lookupInvoice({ paymentRequest }))
    must(found.paymentRequest === paymentRequest && !found.paid, 'lookupInvoice')
  }),
  webln(
    'sendPayment',
    ['payer: pay_invoice', 'payee: make_invoice'],
    async (provider, { invoice, spend }) => {
      const made = await invoice()
      spend(SAT)
      const { preimage } = told(await provider.sendPayment(String(made['invoice'])))
      must(sha256(preimage) === made['payment_hash'], 'preimage')
    },
  ),
  webln('sendPaymentAsync', ['payer: pay_invoice', 'payee: lookup_invoice'], async (provider, context) => {
    const made = await context.invoice()
    context.spend(SAT)
    await provider.sendPaymentAsync(String(made['invoice']))
    await context.payer.notified('payment_sent', ({ body }) => body['payment_hash'] === made['payment_hash'])
    const found = await context.payee.get('lookup_invoice', { payment_hash: made['payment_hash'] })
    must(found['settled_at'], 'it was not paid')
  }),
  webln('keysend', ['payer: pay_keysend', 'payee: get_info'], async (provider, { payee, spend }) => {
    const { pubkey } = await payee.get('get_info')
    spend(SAT)
    const { preimage } = told(await provider.keysend({ destination: String(pubkey), amount: 1 }))
    must(preimage, 'preimage')
  }),
  webln('signMessage', ['payer: sign_message'], async (provider) => {
    must(told(await provider.signMessage('hello')).signature, 'signature')
  }),
]
