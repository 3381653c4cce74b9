/** What every wallet is asked: who it is, how it is spoken to, invoices, payments, look-ups, errors. */
import { generateSecretKey } from 'nostr-tools'
import {
  checkTransaction,
  isAmount,
  isHex32,
  Lacks,
  must,
  readInvoice,
  SAT,
  sha256,
  type Check,
  type Context,
} from './suite.ts'

const balance = async ({ payer }: Context): Promise<number> =>
  Number((await payer.get('get_balance'))['balance'])
const unknownHash = 'ab'.repeat(32)

export const basicChecks: readonly Check[] = [
  {
    method: 'info event',
    check: 'names methods and encryption',
    needs: [],
    async run({ payerInfo }) {
      must(payerInfo.methods.length > 0, 'the content names no method')
      must(
        payerInfo.encryptions.some((one) => one === 'nip44_v2' || one === 'nip04'),
        'the encryption tag names neither nip44_v2 nor nip04',
      )
      if (payerInfo.methods.includes('notifications'))
        must(payerInfo.notifications.length > 0, 'notifications are announced, their types are not')
    },
  },
  {
    method: 'get_info',
    check: 'tells node, network and methods',
    needs: ['payer: get_info'],
    async run({ payer, payerInfo }) {
      const info = await payer.get('get_info')
      const methods = info['methods']
      must(Array.isArray(methods) && methods.includes('get_info'), 'methods does not name get_info')
      const strange = methods.filter((one) => !payerInfo.methods.includes(String(one)))
      must(strange.length === 0, `get_info names methods that the info event does not: ${strange.join(', ')}`)
      const { network, pubkey, block_height: height, alias } = info
      must(
        ['mainnet', 'testnet', 'signet', 'regtest'].includes(String(network)),
        `network is ${String(network)}`,
      )
      must(
        pubkey === undefined || (typeof pubkey === 'string' && /^[0-9a-f]{66}$|^$/.test(pubkey)),
        'pubkey is not a node key',
      )
      must(height === undefined || isAmount(height), 'block_height is not a number')
      must(alias === undefined || typeof alias === 'string', 'alias is not a text')
    },
  },
  ...(['nip44_v2', 'nip04'] as const).map((encryption): Check => ({
    method: 'encryption',
    check: `answers ${encryption} in ${encryption}`,
    needs: ['payer: get_info'],
    async run({ payer, payerInfo }) {
      if (!payerInfo.encryptions.includes(encryption)) throw new Lacks('not announced in the info event')
      const { error } = await payer.ask('get_info', {}, { encryption })
      must(error === null, `refused: ${error?.code}`)
    },
  })),
  {
    method: 'encryption',
    check: 'UNSUPPORTED_ENCRYPTION for an unknown one',
    needs: [],
    async run({ payer }) {
      const tags = [
        ['p', payer.walletPubkey],
        ['encryption', 'rot13'],
      ]
      const event = payer.event('get_info', {}, { encryption: 'nip04', tags })
      const reply = await payer.send(event, '', payer.silenceMs)
      if (!reply) throw new Lacks('no answer')
      must(reply.error?.code === 'UNSUPPORTED_ENCRYPTION', `answered ${reply.error?.code ?? 'with a result'}`)
    },
  },
  {
    method: 'get_balance',
    check: 'a whole number of msat',
    needs: ['payer: get_balance'],
    async run(context) {
      must(isAmount(await balance(context)), 'balance is not a whole number')
    },
  },
  {
    method: 'get_budget',
    check: 'empty, or used and total',
    needs: ['payer: get_budget'],
    async run({ payer }) {
      const budget = await payer.get('get_budget')
      if (Object.keys(budget).length === 0) return
      must(isAmount(budget['used_budget']) && isAmount(budget['total_budget']), 'used_budget or total_budget')
      must(typeof budget['renewal_period'] === 'string', 'renewal_period')
    },
  },
  {
    method: 'make_invoice',
    check: 'an invoice over the amount, with description and expiry',
    needs: ['payee: make_invoice'],
    async run({ invoice }) {
      const made = await invoice({ expiry: 1800 })
      checkTransaction(made, 'incoming')
      const read = readInvoice(made['invoice'])
      must(read.amount === SAT && made['amount'] === SAT, `the invoice is over ${read.amount} msat`)
      must(read.paymentHash === made['payment_hash'], 'payment_hash is not that of the invoice')
      must(read.tags['description'] === 'conformance', 'the description is not in the invoice')
      const left = read.expiresAt - Date.now() / 1000
      must(left > 1800 - 300 && left < 1800 + 300, `it expires in ${Math.round(left)} s, not in 1800`)
      must(
        Math.abs(Number(made['expires_at']) - read.expiresAt) <= 1,
        'expires_at is not that of the invoice',
      )
    },
  },
  {
    method: 'make_invoice',
    check: 'commits to a description_hash',
    needs: ['payee: make_invoice'],
    async run({ payee }) {
      const made = await payee.get('make_invoice', { amount: SAT, description_hash: unknownHash })
      must(
        readInvoice(made['invoice']).tags['purpose_commit_hash'] === unknownHash,
        'it is not in the invoice',
      )
    },
  },
  {
    method: 'lookup_invoice',
    check: 'by payment_hash and by invoice',
    needs: ['payee: make_invoice', 'payee: lookup_invoice'],
    async run({ invoice, payee }) {
      const made = await invoice()
      for (const params of [{ payment_hash: made['payment_hash'] }, { invoice: made['invoice'] }]) {
        const found = await payee.get('lookup_invoice', params)
        checkTransaction(found, 'incoming')
        must(found['payment_hash'] === made['payment_hash'] && found['amount'] === SAT, 'another invoice')
        must(!found['settled_at'], 'an unpaid invoice has settled_at')
      }
    },
  },
  {
    method: 'lookup_invoice',
    check: 'NOT_FOUND for an unknown hash',
    needs: ['payee: lookup_invoice'],
    async run({ payee }) {
      const code = await payee.refusal('lookup_invoice', { payment_hash: unknownHash })
      must(code === 'NOT_FOUND', `answered ${code}`)
    },
  },
  {
    method: 'pay_invoice',
    check: 'the preimage proves it, both balances move by the amount',
    needs: ['payer: pay_invoice', 'payer: get_balance', 'payee: make_invoice', 'payee: get_balance'],
    async run(context) {
      const { invoice, pay, payee } = context
      const before = [await balance(context), Number((await payee.get('get_balance'))['balance'])]
      const made = await invoice()
      const paid = await pay(made['invoice'])
      must(isHex32(paid['preimage']), 'preimage is not 64 hex digits')
      must(sha256(paid['preimage']) === made['payment_hash'], 'the preimage is not that of the invoice')
      const fees = Number(paid['fees_paid'] ?? 0)
      const after = [await balance(context), Number((await payee.get('get_balance'))['balance'])]
      must(
        before[0] === (after[0] ?? 0) + SAT + fees,
        `the payer's balance went from ${before[0]} to ${after[0]}`,
      )
      must(after[1] === (before[1] ?? 0) + SAT, `the payee's balance went from ${before[1]} to ${after[1]}`)
      const found = await payee.get('lookup_invoice', { payment_hash: made['payment_hash'] })
      must(isAmount(found['settled_at']) && sha256(found['preimage']) === made['payment_hash'], 'not settled')
    },
  },
  {
    method: 'pay_invoice',
    check: 'an invoice is not paid twice, nor a request executed twice',
    needs: ['payer: pay_invoice', 'payer: get_balance', 'payee: make_invoice'],
    async run(context) {
      const { invoice, payer, spend } = context
      const made = await invoice()
      const event = payer.event('pay_invoice', { invoice: made['invoice'] })
      spend(2 * SAT)
      const first = await payer.send(event, 'pay_invoice')
      must(first?.error === null, `refused: ${first?.error?.code}`)
      const after = await balance(context)
      await payer.send(event, 'pay_invoice', payer.silenceMs)
      await payer.ask('pay_invoice', { invoice: made['invoice'] })
      must((await balance(context)) === after, 'the balance fell again')
    },
  },
  {
    method: 'pay_invoice',
    check: 'refuses garbage and more than there is',
    needs: ['payer: pay_invoice', 'payer: get_balance', 'payee: make_invoice'],
    async run(context) {
      const { payer, payee } = context
      await payer.refusal('pay_invoice', { invoice: 'lnbc1garbage' })
      await payer.refusal('pay_invoice', {})
      const tooMuch = (await balance(context)) + SAT
      const made = await payee.ask('make_invoice', { amount: Math.ceil(tooMuch / SAT) * SAT })
      if (made.error) return
      const code = await payer.refusal('pay_invoice', { invoice: made.result?.['invoice'] })
      must(['INSUFFICIENT_BALANCE', 'QUOTA_EXCEEDED'].includes(code), `answered ${code}`)
    },
  },
  {
    method: 'expiration',
    check: 'a request that has expired is left alone',
    needs: ['payer: pay_invoice', 'payee: make_invoice', 'payee: lookup_invoice'],
    async run({ payer, payee, payerInfo, invoice, spend }) {
      const made = await invoice()
      const encryption = payerInfo.encryptions.includes('nip44_v2') ? 'nip44_v2' : 'nip04'
      const expired = String(Math.floor(Date.now() / 1000) - 10)
      const tags = [
        ['p', payer.walletPubkey],
        ['encryption', encryption],
        ['expiration', expired],
      ]
      spend(SAT)
      const event = payer.event('pay_invoice', { invoice: made['invoice'] }, { encryption, tags })
      must((await payer.send(event, 'pay_invoice', payer.silenceMs)) === undefined, 'it was answered')
      const found = await payee.get('lookup_invoice', { payment_hash: made['payment_hash'] })
      must(!found['settled_at'], 'it was paid')
    },
  },
  {
    method: 'errors',
    check: 'NOT_IMPLEMENTED for an unknown method',
    needs: [],
    async run({ payer }) {
      const code = await payer.refusal('fly_to_the_moon')
      must(code === 'NOT_IMPLEMENTED', `answered ${code}`)
    },
  },
  {
    method: 'errors',
    check: 'UNAUTHORIZED for a key without a wallet',
    needs: [],
    async run({ payer }) {
      const stranger = await payer.as(generateSecretKey())
      try {
        const reply = await stranger.send(stranger.event('get_balance', {}), '', stranger.silenceMs)
        if (!reply) throw new Lacks('no answer')
        must(reply.error?.code === 'UNAUTHORIZED', `answered ${reply.error?.code ?? 'with a result'}`)
      } finally {
        stranger.close()
      }
    },
  },
  {
    method: 'errors',
    check: 'what is no request is refused or left alone, and the wallet goes on',
    needs: ['payer: get_info'],
    async run({ payer }) {
      for (const content of ['', 'not encrypted', 'AAAA?iv=AAAA'])
        await payer.send(payer.event('get_info', {}, { content }), '', payer.silenceMs / 3)
      await payer.ask('get_info', { unknown: [{}] })
      await payer.get('get_info')
    },
  },
]
