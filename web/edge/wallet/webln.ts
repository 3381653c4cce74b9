/** The wallet port over WebLN (webln.guide): a wallet in the browser itself, such as an extension. It asks its owner. */
import * as v from 'valibot'
import { fromHex, isHex32, sha256Hex } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { peekInvoice } from '../../core/money/bolt11.ts'
import { msat } from '../../core/money/msat.ts'
import { WalletError, type PayResult, type Wallet, type WalletFeature } from './wallet.ts'

/** What of WebLN is used; all answers are parsed. */
export type WebLnProvider = Readonly<{
  enable(): Promise<unknown>
  getInfo?(): Promise<unknown>
  getBalance?(): Promise<unknown>
  makeInvoice?(args: { amount: number; defaultMemo: string }): Promise<unknown>
  sendPayment?(paymentRequest: string): Promise<unknown>
}>

const infoSchema = v.object({
  node: v.optional(v.object({ alias: v.optional(v.string()), pubkey: v.optional(v.string()) })),
  methods: v.optional(v.array(v.string())),
})
const balanceSchema = v.object({
  balance: v.pipe(v.number(), v.minValue(0)),
  currency: v.optional(v.string()),
})
const invoiceSchema = v.object({ paymentRequest: v.string() })
const paidSchema = v.object({
  preimage: v.pipe(v.string(), v.toLowerCase(), v.check(isHex32)),
})
const CLOSED = 'This wallet has been disconnected here.'

/** The provider that the browser offers, if there is one. */
export function offeredWebLn(): WebLnProvider | undefined {
  const { webln } = globalThis as { webln?: unknown }
  return isProvider(webln) ? webln : undefined
}
const isProvider = (value: unknown): value is WebLnProvider =>
  typeof value === 'object' && value !== null && 'enable' in value && typeof value.enable === 'function'

/** Asks the person for leave. @throws WalletError `restricted` when they say no */
export async function connectWebLn(provider: WebLnProvider): Promise<Wallet> {
  try {
    await provider.enable()
  } catch (cause) {
    throw new WalletError('restricted', 'The wallet in this browser was not allowed to connect.', { cause })
  }
  const status = liveCell<{ connected: boolean; trouble?: string }>({ connected: true })
  const paying = new Map<string, Promise<PayResult>>()

  const ask = async <const S extends v.GenericSchema>(
    what: string,
    method: (() => Promise<unknown>) | undefined,
    schema: S,
  ): Promise<v.InferOutput<S>> => {
    if (!status.get().connected) throw new WalletError('unreachable', CLOSED)
    if (!method) throw notOffered(what)
    let answer: unknown
    try {
      answer = await method()
    } catch (cause) {
      throw new WalletError('other', `The wallet did not ${what}: ${said(cause)}`, { cause })
    }
    const parsed = v.safeParse(schema, answer)
    if (parsed.success) return parsed.output
    throw new WalletError('other', `The wallet's answer cannot be read (${parsed.issues[0].message}).`)
  }

  async function payOnce(bolt11: string, paymentHash: string): Promise<PayResult> {
    if (!status.get().connected) return { tag: 'failed', code: 'unreachable', message: CLOSED }
    if (!provider.sendPayment) return { tag: 'failed', ...because(notOffered('pay')) }
    let answer: unknown
    try {
      answer = await provider.sendPayment(bolt11)
    } catch (cause) {
      // WebLN has no codes: a payment that failed and one that still travels look alike.
      return { tag: 'unknown', message: `The wallet did not say that it paid: ${said(cause)}` }
    }
    const paid = v.safeParse(paidSchema, answer)
    if (paid.success && sha256Hex(fromHex(paid.output.preimage)) === paymentHash)
      return { tag: 'paid', preimage: paid.output.preimage, fees: msat(0) }
    return { tag: 'unknown', message: 'The wallet says it has paid, but shows no proof for this invoice.' }
  }

  return {
    status,
    async info() {
      const { node, methods } = await ask('say what it is', provider.getInfo?.bind(provider), infoSchema)
      const has = (name: keyof WebLnProvider): boolean =>
        typeof provider[name] === 'function' && (methods?.includes(name) ?? true)
      const features = new Set<WalletFeature>()
      if (has('sendPayment')) features.add('pay')
      if (has('makeInvoice')) features.add('receive')
      return {
        money: 'bitcoin',
        alias: node?.alias ?? 'Wallet in this browser',
        features,
        ...(node?.pubkey && { pubkey: node.pubkey }),
      }
    },
    async balance() {
      const method = provider.getBalance?.bind(provider)
      const { balance, currency } = await ask('tell its balance', method, balanceSchema)
      if (currency !== undefined && !/^sats?$/i.test(currency))
        throw new WalletError('not-implemented', `The wallet tells its balance in ${currency.slice(0, 20)}.`)
      return msat(Math.floor(balance * 1000))
    },
    budget: async () => undefined,
    async makeInvoice({ amount, description, preimage }) {
      if (preimage !== undefined) throw notOffered('make an invoice with a preimage of yours')
      if (amount % 1000 !== 0) throw new WalletError('not-implemented', 'This wallet knows whole sats only.')
      const make = provider.makeInvoice?.bind(provider)
      const wanted = { amount: amount / 1000, defaultMemo: description }
      const { paymentRequest } = await ask('make an invoice', make && (() => make(wanted)), invoiceSchema)
      const read = peekInvoice(paymentRequest)
      if (read?.amount !== amount)
        throw new WalletError('other', 'The wallet made an invoice other than the one that was asked for.')
      return {
        bolt11: paymentRequest,
        paymentHash: read.paymentHash,
        amount,
        expiresAtMs: read.expiresAtMs,
      }
    },
    pay(bolt11, { amount } = {}) {
      const read = peekInvoice(bolt11)
      if (!read || (read.amount === undefined && amount !== undefined)) {
        const message = read ? 'This wallet pays only invoices with an amount.' : 'This is not an invoice.'
        return Promise.resolve({ tag: 'failed', code: 'not-implemented', message })
      }
      const running = paying.get(read.paymentHash)
      if (running) return running
      const result = payOnce(bolt11, read.paymentHash).finally(() => paying.delete(read.paymentHash))
      paying.set(read.paymentHash, result)
      return result
    },
    makeHoldInvoice: () => Promise.reject(notOffered('hold invoices')),
    settleHoldInvoice: () => Promise.reject(notOffered('hold invoices')),
    cancelHoldInvoice: () => Promise.reject(notOffered('hold invoices')),
    lookUp: () => Promise.reject(notOffered('look payments up')),
    history: () => Promise.reject(notOffered('list payments')),
    createConnection: () => Promise.reject(notOffered('make connections')),
    listConnections: () => Promise.reject(notOffered('list connections')),
    updateConnection: () => Promise.reject(notOffered('change connections')),
    deleteConnection: () => Promise.reject(notOffered('end connections')),
    onEvent: () => () => undefined,
    onConnection: () => () => undefined,
    close: () => status.set({ connected: false, trouble: CLOSED }),
  }
}

const notOffered = (what: string): WalletError =>
  new WalletError('not-implemented', `The wallet in this browser cannot ${what}.`)
const because = ({ code, message }: WalletError): Pick<WalletError, 'code' | 'message'> => ({ code, message })
/** A stranger's words, cut short. */
const said = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).slice(0, 200)
