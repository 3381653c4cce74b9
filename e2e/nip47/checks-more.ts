/** Lists and their filters, hold invoices, notifications, budgets and permissions of connections, keysend. */
import { randomBytes } from 'node:crypto'
import { generateSecretKey } from 'nostr-tools'
import type { Client, Fields, Notification, Reply } from './client.ts'
import { checkTransaction, isAmount, must, SAT, sha256, type Check, type Context } from './suite.ts'

const listed = async (client: Client, params: object): Promise<Fields[]> => {
  const { transactions } = await client.get('list_transactions', params)
  must(Array.isArray(transactions), 'transactions is not a list')
  return transactions as Fields[]
}
const hashes = (list: readonly Fields[]): unknown[] => list.map((one) => one['payment_hash'])
const times = (list: readonly Fields[]): number[] => list.map((one) => Number(one['created_at']))

/** A hold invoice of the payee, and a payment of it that waits. */
async function hold({ payee, payer, spend }: Context) {
  const preimage = randomBytes(32).toString('hex')
  const payment_hash = sha256(preimage)
  const made = await payee.get('make_hold_invoice', { amount: SAT, payment_hash, description: 'held' })
  must(made['payment_hash'] === payment_hash, 'the invoice has another payment hash')
  spend(SAT)
  const paying = payer.send(payer.event('pay_invoice', { invoice: made['invoice'] }), 'pay_invoice')
  return { preimage, payment_hash, paying }
}
/** Until the payment is locked, as the payee is told or sees. */
async function locked({ payee, payeeInfo }: Context, hash: string): Promise<void> {
  if (payeeInfo.notifications.includes('hold_invoice_accepted')) {
    const event = await payee.notified('hold_invoice_accepted', about('hold_invoice_accepted', hash))
    must(isAmount(event.body['settle_deadline']), 'settle_deadline is missing')
    return
  }
  for (;;) {
    const found = await payee.get('lookup_invoice', { payment_hash: hash })
    if (found['state'] === 'accepted') return
    must(found['state'] !== 'failed' && found['state'] !== 'expired', `the hold is ${String(found['state'])}`)
  }
}
const about =
  (type: string, hash: unknown) =>
  (one: Notification): boolean =>
    one.type === type && one.body['payment_hash'] === hash
const HOLDS = ['payee: make_hold_invoice', 'payee: lookup_invoice', 'payer: pay_invoice']
const LIST = ['payee: list_transactions', 'payee: make_invoice', 'payer: pay_invoice']

export const moreChecks: readonly Check[] = [
  {
    method: 'list_transactions',
    check: 'both sides tell the payment, newest first',
    needs: [...LIST, 'payer: list_transactions'],
    async run({ payer, payee, invoice, pay }) {
      const made = await invoice()
      await pay(made['invoice'])
      for (const [client, type] of [
        [payer, 'outgoing'],
        [payee, 'incoming'],
      ] as const) {
        const list = await listed(client, { limit: 20 })
        const found = list.find((one) => one['payment_hash'] === made['payment_hash'])
        must(found, `it is not in the list of the ${type === 'outgoing' ? 'payer' : 'payee'}`)
        checkTransaction(found, type)
        must(isAmount(found['settled_at']), 'settled_at is missing')
        const sorted = times(list).toSorted((a, b) => b - a)
        must(times(list).join() === sorted.join(), 'the list is not newest first')
      }
    },
  },
  {
    method: 'list_transactions',
    check: 'type, limit and offset',
    needs: LIST,
    async run({ payee, invoice, pay }) {
      await pay((await invoice())['invoice'])
      await pay((await invoice())['invoice'])
      const incoming = await listed(payee, { type: 'incoming', limit: 20 })
      must(incoming.length > 1 && incoming.every((one) => one['type'] === 'incoming'), 'type incoming')
      const outgoing = await listed(payee, { type: 'outgoing', limit: 20 })
      must(
        outgoing.every((one) => one['type'] === 'outgoing'),
        'type outgoing',
      )
      const all = await listed(payee, { limit: 3 })
      must((await listed(payee, { limit: 1 })).length === 1, 'limit 1 gives another number')
      const second = await listed(payee, { limit: 1, offset: 1 })
      must(hashes(second)[0] === hashes(all)[1], 'offset 1 does not begin with the second')
    },
  },
  {
    method: 'list_transactions',
    check: 'from and until are inclusive',
    needs: LIST,
    async run({ payee, invoice, pay }) {
      const made = await invoice()
      await pay(made['invoice'])
      const found = (await listed(payee, { limit: 20 })).find(
        (one) => one['payment_hash'] === made['payment_hash'],
      )
      must(found, 'the payment is not listed')
      const at = Number(found['created_at'])
      const has = async (params: object): Promise<boolean> =>
        hashes(await listed(payee, { limit: 20, ...params })).includes(made['payment_hash'])
      must(await has({ from: at }), 'from its own time leaves it out')
      must(await has({ from: at, until: at }), 'until its own time leaves it out')
      must(!(await has({ until: at - 1 })), 'until before its time shows it')
      must((await listed(payee, { from: at + 1_000_000 })).length === 0, 'from in the future shows something')
    },
  },
  {
    method: 'list_transactions',
    check: 'unpaid invoices only when asked for',
    needs: LIST.slice(0, 2),
    async run({ payee, invoice }) {
      const { payment_hash } = await invoice()
      const of = async (params: object): Promise<boolean> =>
        hashes(await listed(payee, { limit: 20, ...params })).includes(payment_hash)
      must(!(await of({})) && !(await of({ unpaid: false })), 'an unpaid invoice is listed without unpaid')
      must(await of({ unpaid: true }), 'an unpaid invoice is not listed with unpaid')
    },
  },
  ...(['payee', 'payer'] as const).map((who): Check => {
    const [type, direction] =
      who === 'payee' ? (['payment_received', 'incoming'] as const) : (['payment_sent', 'outgoing'] as const)
    return {
      method: 'notifications',
      check: `${type} to the ${who}`,
      needs: [`${who}: notifications`, 'payer: pay_invoice', 'payee: make_invoice'],
      async run({ invoice, pay, ...context }) {
        const { payment_hash, invoice: text } = await invoice()
        await pay(text)
        const event = await context[who].notified(type, about(type, payment_hash))
        checkTransaction(event.body, direction)
        must(sha256(event.body['preimage']) === payment_hash, 'the preimage is missing or another')
        const info = who === 'payee' ? context.payeeInfo : context.payerInfo
        const expected = info.encryptions.includes('nip44_v2') ? 23197 : 23196
        must(event.kind === expected, `its kind is ${event.kind}, not ${expected}`)
      },
    }
  }),
  {
    method: 'settle_hold_invoice',
    check: 'locks, settles, and gives the payer the preimage',
    needs: [...HOLDS, 'payee: settle_hold_invoice'],
    async run(context) {
      const { preimage, payment_hash, paying } = await hold(context)
      await locked(context, payment_hash)
      await context.payee.get('settle_hold_invoice', { preimage })
      const reply = (await paying) as Reply
      must(reply?.result?.['preimage'] === preimage, 'the payer did not get the preimage')
      const found = await context.payee.get('lookup_invoice', { payment_hash })
      must(isAmount(found['settled_at']), 'the invoice is not settled')
    },
  },
  {
    method: 'cancel_hold_invoice',
    check: 'gives the sats back and the payer an error',
    needs: [...HOLDS, 'payee: cancel_hold_invoice', 'payer: get_balance'],
    async run(context) {
      const before = (await context.payer.get('get_balance'))['balance']
      const { payment_hash, paying } = await hold(context)
      await locked(context, payment_hash)
      await context.payee.get('cancel_hold_invoice', { payment_hash })
      const reply = (await paying) as Reply
      must(reply?.error, 'the payment was not refused')
      must((await context.payer.get('get_balance'))['balance'] === before, 'the sats are not back')
    },
  },
  {
    method: 'pay_keysend',
    check: 'pays a node key',
    needs: ['payer: pay_keysend', 'payee: get_info'],
    async run({ payer, payee, spend }) {
      const { pubkey } = await payee.get('get_info')
      spend(SAT)
      const preimage = randomBytes(32).toString('hex')
      const paid = await payer.get('pay_keysend', { amount: SAT, pubkey, preimage })
      must(paid['preimage'] === preimage, 'another preimage')
    },
  },
  {
    method: 'pay_keysend',
    check: 'NOT_IMPLEMENTED where it is not advertised',
    needs: [],
    async run({ payer, payerInfo }) {
      if (payerInfo.methods.includes('pay_keysend')) return
      const code = await payer.refusal('pay_keysend', { amount: SAT, pubkey: `02${'11'.repeat(32)}` })
      must(code === 'NOT_IMPLEMENTED' || code === 'RESTRICTED', `answered ${code}`)
    },
  },
  {
    method: 'create_connection',
    check: 'has its budget and its permissions, and no others',
    needs: ['payer: create_connection', 'payer: get_budget', 'payee: make_invoice'],
    async run({ payer, payerInfo, invoice, pay }) {
      const child = await payer.as(generateSecretKey())
      try {
        const made = await payer.get('create_connection', {
          ...{ pubkey: child.publicKey, name: 'conformance', request_methods: ['pay_invoice', 'get_budget'] },
          ...{ max_amount: 2 * SAT, budget_renewal: 'never' },
          expires_at: Math.floor(Date.now() / 1000) + 600,
        })
        must(made['wallet_pubkey'] === payer.walletPubkey, 'wallet_pubkey is not the wallet that answered')
        await pay((await invoice())['invoice'], child)
        const { used_budget: used, total_budget: total } = await child.get('get_budget')
        must(total === 2 * SAT && Number(used) >= SAT, `the budget says ${String(used)} of ${String(total)}`)
        const over = await child.refusal('pay_invoice', {
          invoice: (await invoice({ amount: 2 * SAT }))['invoice'],
        })
        must(over === 'QUOTA_EXCEEDED', `over the budget: ${over}`)
        const other = await child.refusal('list_transactions')
        must(other === 'RESTRICTED', `a method that was not granted: ${other}`)
      } finally {
        if (payerInfo.methods.includes('delete_connection'))
          await payer.ask('delete_connection', { pubkey: child.publicKey })
        child.close()
      }
    },
  },
]
