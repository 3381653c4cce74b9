/** The wallet port over Nostr Wallet Connect (NIP-47): any such wallet, and the relay's play money. */
import * as v from 'valibot'
import { loadSecp } from '#secp'
import { fromHex, isHex32, sha256Hex, type Sha256Hex } from '../../core/bytes.ts'
import { peekInvoice } from '../../core/money/bolt11.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { parseConnection, type WalletConnection } from '../../core/wallet/connection.ts'
import * as nip47 from '../../core/wallet/nip47.ts'
import { MAX_LIST, type Method } from '../../core/wallet/nip47.ts'
import { moneyOf, toConnectionState, toEvent, toTransaction } from './nwc-read.ts'
import {
  createNwcTransport,
  type NwcTransport,
  type NwcTransportOptions,
  type Reply,
} from './nwc-transport.ts'
import {
  LATEST_START_MS,
  WalletError,
  type ConnectionRequest,
  type ConnectionState,
  type Invoice,
  type PayResult,
  type Transaction,
  type Wallet,
  type WalletErrorCode,
  type WalletFeature,
} from './wallet.ts'

export { composeConnection, parseConnection, type WalletConnection } from '../../core/wallet/connection.ts'

export type NwcOptions = NwcTransportOptions &
  Readonly<{
    /** For everything but paying. */
    replyTimeoutMs?: number
    /** How long `pay` waits before it says `unknown`; a held payment may take minutes. */
    payTimeoutMs?: number
  }>

const REPLY_TIMEOUT_MS = 20_000
const PAY_TIMEOUT_MS = 60_000
/** Payments whose fate is unknown, remembered so that a retry looks first; the oldest goes. */
const MAX_UNCERTAIN = 10_000
const MAX_HISTORY_PAGES = 50
/** As many as our own wallet service lets be cut from one; of a wallet that lists more, the first. */
const MAX_CONNECTIONS = 10_000

const CODES: Readonly<Record<string, WalletErrorCode>> = {
  RATE_LIMITED: 'rate-limited',
  NOT_IMPLEMENTED: 'not-implemented',
  INSUFFICIENT_BALANCE: 'insufficient-balance',
  QUOTA_EXCEEDED: 'quota-exceeded',
  RESTRICTED: 'restricted',
  UNAUTHORIZED: 'unauthorized',
  INTERNAL: 'internal',
  UNSUPPORTED_ENCRYPTION: 'unsupported-encryption',
  PAYMENT_FAILED: 'payment-failed',
  NOT_FOUND: 'not-found',
  OTHER: 'other',
}
const codeOf = (code: string): WalletErrorCode => CODES[code] ?? 'other'

/** Refusals that a wallet makes before it pays anything. */
const NOTHING_SENT: ReadonlySet<WalletErrorCode> = new Set([
  'rate-limited',
  'not-implemented',
  'insufficient-balance',
  'quota-exceeded',
  'restricted',
  'unauthorized',
  'unsupported-encryption',
])

const FEATURES: readonly (readonly [WalletFeature, readonly Method[]])[] = [
  ['pay', ['pay_invoice']],
  ['receive', ['make_invoice']],
  ['look-up', ['lookup_invoice']],
  ['history', ['list_transactions']],
  ['hold-invoices', ['make_hold_invoice', 'settle_hold_invoice', 'cancel_hold_invoice']],
  ['budget', ['get_budget']],
  ['create-connection', ['create_connection']],
  ['manage-connections', nip47.MANAGING],
]
const PAYING: readonly Method[] = [
  'get_info',
  'get_balance',
  'get_budget',
  'pay_invoice',
  'create_connection',
  ...nip47.MANAGING,
]
const RECEIVING: readonly Method[] = ['get_info', 'get_balance', 'make_invoice', ...(FEATURES[4]?.[1] ?? [])]
const LOOKING: readonly Method[] = ['lookup_invoice', 'list_transactions']

/**
 * Opens a wallet by its connection string. It answers when its relay does and reconnects by itself; nothing is asked
 * yet, so this succeeds offline too. @throws WalletError for a string that is no connection, in words
 */
export async function connectNwc(uri: string, options: NwcOptions = {}): Promise<Wallet> {
  const parsed = parseConnection(uri)
  if (!parsed.ok) throw new WalletError('other', parsed.message)
  await loadSecp()
  return walletOver(createNwcTransport(parsed.connection, options), parsed.connection, options)
}

/** The port over anything that carries NIP-47 requests: a Nostr relay, or an allowance in the same process. */
export function walletOver(
  transport: NwcTransport,
  connection: Pick<WalletConnection, 'relays'>,
  options: NwcOptions,
): Wallet {
  const nowMs = options.nowMs ?? Date.now
  const replyTimeoutMs = options.replyTimeoutMs ?? REPLY_TIMEOUT_MS
  const payTimeoutMs = options.payTimeoutMs ?? PAY_TIMEOUT_MS
  const paying = new Map<Sha256Hex, Promise<PayResult>>()
  /** Payments whose fate is unknown, and when the last request for each ended without an answer. */
  const uncertain = new Map<Sha256Hex, number>()

  const ask = async <const S extends v.GenericSchema>(
    method: Method,
    params: object,
    schema: S,
  ): Promise<v.InferOutput<S>> => {
    const reply = await transport.request(method, params, replyTimeoutMs)
    if (reply.tag === 'refused') throw new WalletError(codeOf(reply.code), reply.message || reply.code)
    if (reply.tag === 'no-answer') throw new WalletError('unreachable', reply.message)
    const parsed = v.safeParse(schema, reply.result)
    if (parsed.success) return parsed.output
    throw new WalletError(
      'other',
      `The wallet's answer to ${method} cannot be read (${parsed.issues[0].message}).`,
    )
  }
  const methods = async (): Promise<v.InferOutput<typeof nip47.infoResult>> =>
    ask('get_info', {}, nip47.infoResult)

  const lookUp = async (paymentHash: Sha256Hex): Promise<Transaction | undefined> => {
    try {
      return toTransaction(
        await ask('lookup_invoice', { payment_hash: paymentHash }, nip47.transactionSchema),
      )
    } catch (error) {
      if (error instanceof WalletError && error.code === 'not-found') return undefined
      throw error
    }
  }
  const invoiceFrom = async (
    method: Method,
    params: object,
    amount: Msat,
    hash?: Sha256Hex,
  ): Promise<Invoice> => {
    const { invoice } = await ask(method, params, nip47.makeInvoiceResult)
    const read = peekInvoice(invoice)
    if (read?.amount !== amount || (hash && read.paymentHash !== hash))
      throw new WalletError('other', 'The wallet made an invoice other than the one that was asked for.')
    return { bolt11: invoice, paymentHash: read.paymentHash, amount, expiresAtMs: read.expiresAtMs }
  }

  /** What is known of an outgoing payment; `undefined`: the wallet has not tried it, or it came back. */
  const fateOf = async (hash: Sha256Hex): Promise<PayResult | undefined> => {
    let found: Transaction | undefined
    try {
      found = await lookUp(hash)
    } catch {
      return {
        tag: 'unknown',
        message: 'The wallet has not said what became of the payment; look it up later.',
      }
    }
    if (found?.direction !== 'out' || found.state === 'failed' || found.state === 'expired') return undefined
    if (found.state !== 'settled' || found.preimage === undefined)
      return {
        tag: 'unknown',
        message: 'The payment is locked: the receiver has neither taken nor refused it.',
      }
    return { tag: 'paid', preimage: found.preimage, fees: found.fees }
  }
  const payOnce = async (
    bolt11: string,
    amount: Msat | undefined,
    hash: Sha256Hex,
    expiresAtMs: number,
  ): Promise<PayResult> => {
    if (uncertain.has(hash)) {
      const fate = await fateOf(hash)
      if (fate) return fate
    }
    const reply: Reply = await transport.request(
      'pay_invoice',
      { invoice: bolt11, ...(amount !== undefined && { amount }) },
      payTimeoutMs,
    )
    // An earlier request has no answer, and may be taken up yet: what becomes of this one decides nothing.
    const earlier = nowMs() < (uncertain.get(hash) ?? Number.NEGATIVE_INFINITY) + LATEST_START_MS
    if (reply.tag === 'no-answer') {
      if (!reply.sent && earlier) return UNDECIDED
      if (!reply.sent) return failed('unreachable', `${reply.message} Nothing was sent.`)
      return (await fateOf(hash)) ?? { tag: 'unknown', message: reply.message }
    }
    if (reply.tag === 'result') {
      const paid = v.safeParse(nip47.payResult, reply.result)
      if (paid.success && sha256Hex(fromHex(paid.output.preimage)) === hash)
        return { tag: 'paid', preimage: paid.output.preimage, fees: msat(paid.output.fees_paid ?? 0) }
      return {
        tag: 'unknown',
        message: 'The wallet says it has paid, but its proof does not match the invoice.',
      }
    }
    const code = codeOf(reply.code)
    if (NOTHING_SENT.has(code) && !earlier) return failed(code, reply.message)
    // It may have been paid before, by a request whose answer was lost.
    const fate = await fateOf(hash)
    if (fate) return fate
    if (earlier && NOTHING_SENT.has(code)) return UNDECIDED
    return failed(code === 'payment-failed' && expiresAtMs <= nowMs() ? 'expired' : code, reply.message)
  }

  return {
    status: transport.status,
    async info() {
      const info = await methods()
      const has = new Set(info.methods)
      const features = new Set<WalletFeature>(
        FEATURES.filter(([, needed]) => needed.every((method) => has.has(method))).map(
          ([feature]) => feature,
        ),
      )
      if (features.has('receive') && info.satpatch?.preimage_invoices) features.add('preimage-invoices')
      if (info.notifications && info.notifications.length > 0) features.add('notifications')
      return {
        money: moneyOf(info),
        alias: info.alias ?? 'wallet',
        features,
        ...(info.pubkey && { pubkey: info.pubkey }),
      }
    },
    balance: async () => msat((await ask('get_balance', {}, nip47.balanceResult)).balance),
    async budget() {
      try {
        const { total_budget, used_budget, renews_at } = await ask('get_budget', {}, nip47.budgetResult)
        if (total_budget === undefined) return undefined
        return {
          total: msat(total_budget),
          used: msat(used_budget ?? 0),
          ...(renews_at !== undefined && { renewsAtMs: renews_at * 1000 }),
        }
      } catch (error) {
        if (error instanceof WalletError && error.code === 'not-implemented') return undefined
        throw error
      }
    },
    async makeInvoice({ amount, description, expirySeconds, preimage }) {
      const params = { amount, description, expiry: expirySeconds }
      if (preimage === undefined) return invoiceFrom('make_invoice', params, amount)
      if (!isHex32(preimage)) throw new WalletError('other', 'A preimage is 64 lower-case hex digits.')
      return invoiceFrom('make_invoice', { ...params, preimage }, amount, sha256Hex(fromHex(preimage)))
    },
    makeHoldInvoice: async ({ amount, description, expirySeconds, paymentHash }) =>
      invoiceFrom(
        'make_hold_invoice',
        {
          amount,
          description,
          expiry: expirySeconds,
          payment_hash: paymentHash,
          min_cltv_expiry_delta: MIN_CLTV,
        },
        amount,
        paymentHash,
      ),
    settleHoldInvoice: async (preimage) =>
      void (await ask('settle_hold_invoice', { preimage }, nip47.emptyResult)),
    cancelHoldInvoice: async (paymentHash) =>
      void (await ask('cancel_hold_invoice', { payment_hash: paymentHash }, nip47.emptyResult)),
    pay(bolt11, { amount } = {}) {
      const read = peekInvoice(bolt11)
      if (!read) return Promise.resolve(failed('other', 'This is not an invoice; nothing was paid.'))
      const hash = read.paymentHash
      const running = paying.get(hash)
      if (running) return running
      const result = payOnce(bolt11, amount, hash, read.expiresAtMs).then((fate) => {
        paying.delete(hash)
        if (fate.tag !== 'unknown') uncertain.delete(hash)
        else {
          if (fate !== UNDECIDED) uncertain.set(hash, nowMs())
          if (uncertain.size > MAX_UNCERTAIN)
            for (const oldest of uncertain.keys()) if (uncertain.delete(oldest)) break
        }
        return fate
      })
      paying.set(hash, result)
      return result
    },
    lookUp,
    async history({ limit, offset, fromMs, untilMs }) {
      const found = new Map<string, Transaction>()
      let told = 0
      for (let page = 0; page < MAX_HISTORY_PAGES && found.size < limit; page++) {
        const params = {
          limit: Math.min(limit - found.size, MAX_LIST),
          offset: offset + told,
          ...(fromMs !== undefined && { from: Math.floor(fromMs / 1000) }),
          ...(untilMs !== undefined && { until: Math.floor(untilMs / 1000) }),
        }
        const { transactions } = await ask('list_transactions', params, nip47.listResult)
        if (transactions.length === 0) break
        told += transactions.length
        // What is paid between two pages moves all others back: the next page begins with the end of this one.
        for (const one of transactions.map(toTransaction)) {
          const id = `${one.direction} ${one.paymentHash} ${one.createdAtMs}`
          if (!found.has(id)) found.set(id, one)
        }
      }
      return [...found.values()].slice(0, limit)
    },
    async createConnection(request: ConnectionRequest) {
      const wanted = new Set<string>(LOOKING)
      if (request.may.has('pay')) for (const method of PAYING) wanted.add(method)
      if (request.may.has('receive')) for (const method of RECEIVING) wanted.add(method)
      const offered = (await methods()).methods
      const params = {
        pubkey: request.client,
        name: request.name,
        request_methods: offered.filter((method) => wanted.has(method)),
        max_amount: request.limit,
        budget_renewal: request.renewal,
        isolated: request.isolated,
        ...(request.expiresAtMs !== undefined && { expires_at: Math.floor(request.expiresAtMs / 1000) }),
      }
      const { wallet_pubkey, relays } = await ask('create_connection', params, nip47.connectionResult)
      return { walletPubkey: wallet_pubkey, relays: relays && relays.length > 0 ? relays : connection.relays }
    },
    async listConnections() {
      const found = new Map<string, ConnectionState>()
      for (let known = -1; found.size > known && found.size < MAX_CONNECTIONS;) {
        known = found.size
        const page = await ask('list_connections', { offset: known }, nip47.listConnectionsResult)
        for (const one of page.connections.map(toConnectionState)) found.set(one.client, one)
        if (found.size >= page.total) break
      }
      return [...found.values()]
    },
    async updateConnection(client, change) {
      const params = {
        pubkey: client,
        name: change.name,
        max_amount: change.limit,
        budget_renewal: change.renewal,
        paused: change.paused,
        ...(change.expiresAtMs !== undefined && {
          expires_at: change.expiresAtMs === 'never' ? 0 : Math.floor(change.expiresAtMs / 1000),
        }),
      }
      return toConnectionState(await ask('update_connection', params, nip47.connectionState))
    },
    deleteConnection: async (client) =>
      void (await ask('delete_connection', { pubkey: client }, nip47.emptyResult)),
    onConnection: (run) =>
      transport.onNotification((type, notification) => {
        if (type !== 'connection_updated') return
        const parsed = v.safeParse(nip47.connectionState, notification)
        if (parsed.success) run(toConnectionState(parsed.output))
      }),
    onEvent: (run) =>
      transport.onNotification((type, notification) => {
        const event = toEvent(type, notification, nowMs())
        if (event) run(event)
      }),
    close: () => transport.close(),
  }
}

/** The least that LND and Alby Hub take for a hold invoice, in blocks; ignored elsewhere. */
const MIN_CLTV = 24

/** A refusal of a second request, while the first may still be taken up. */
const UNDECIDED: PayResult = {
  tag: 'unknown',
  message: 'The wallet refused to be asked twice, and has not said what became of the first request.',
}

const failed = (code: WalletErrorCode, message: string): PayResult => ({ tag: 'failed', code, message })
