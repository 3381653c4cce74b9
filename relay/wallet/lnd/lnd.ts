/** LND (0.17 and later) as a `LightningNode`, over its REST interface. */
import * as v from 'valibot'
import { parseMoney } from '../../../web/core/money/msat.ts'
import {
  NodeError,
  type InvoiceDraft,
  type LightningNode,
  type Network,
  type NodeInvoice,
  type NodeStatus,
  type OutgoingPayment,
  type Paid,
} from '../node.ts'
import { createLndHttp, GRPC, LndWord, type LndAccess, type LndHttp } from './http.ts'

export type { LndAccess } from './http.ts'

/** How long LND looks for routes; a payment that a hold invoice keeps may take longer. */
const ROUTE_TIMEOUT_S = 60
const KEYSEND_RECORD = '5482373484'
const AGAIN_MS = [500, 1000, 2000, 5000, 10_000]

/** 64-bit numbers come as strings. */
const number = v.pipe(
  v.union([v.string(), v.number()]),
  v.transform((value) => Number(value)),
  v.safeInteger(),
)
const chains = v.array(v.object({ network: v.string() }))
const infoSchema = v.object({
  identity_pubkey: v.string(),
  alias: v.string(),
  block_height: number,
  block_hash: v.string(),
  synced_to_chain: v.boolean(),
  chains,
})
const stateSchema = v.object({ state: v.string() })
const balanceSchema = v.object({ local_balance: v.optional(v.object({ msat: number })) })
const bytesField = v.pipe(
  v.string(),
  v.transform((text) => Buffer.from(text, 'base64').toString('hex')),
)
const invoiceSchema = v.object({
  state: v.picklist(['OPEN', 'ACCEPTED', 'SETTLED', 'CANCELED']),
  payment_request: v.string(),
  r_hash: bytesField,
  r_preimage: v.fallback(bytesField, ''),
  amt_paid_msat: v.fallback(number, 0),
  settle_date: v.fallback(number, 0),
  htlcs: v.fallback(v.array(v.object({ state: v.string(), amt_msat: number })), []),
})
const madeSchema = v.object({ payment_request: v.string() })
const paymentSchema = v.object({
  status: v.string(),
  payment_preimage: v.fallback(v.string(), ''),
  fee_msat: v.fallback(number, 0),
  failure_reason: v.fallback(v.string(), ''),
})

const NETWORKS: Readonly<Record<string, Network>> = {
  mainnet: 'mainnet',
  testnet: 'testnet',
  testnet4: 'testnet',
  signet: 'signet',
  regtest: 'regtest',
}

const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')
/** In a path: LND wants the padding. */
const inPath = (hex: string): string => base64(hex).replaceAll('+', '-').replaceAll('/', '_')

const read = <const S extends v.GenericSchema>(schema: S, value: unknown): v.InferOutput<S> => {
  const parsed = v.safeParse(schema, value)
  if (parsed.success) return parsed.output
  const where = v.getDotPath(parsed.issues[0]) ?? ''
  throw new NodeError('not-a-node', `LND's answer cannot be read at "${where}": ${parsed.issues[0].message}`)
}

/** @throws NodeError for an address that cannot be one; asks nothing yet */
export function openLnd(access: LndAccess): LightningNode {
  const http = createLndHttp(access)
  const stopped = new AbortController()
  const pay = async (payment: OutgoingPayment): Promise<Paid> => {
    const { target, maxFee } = payment
    const how = {
      timeout_seconds: ROUTE_TIMEOUT_S,
      fee_limit_msat: String(maxFee),
      ...(target.tag === 'invoice'
        ? {
            payment_request: target.bolt11,
            ...(target.amount !== undefined && { amt_msat: String(target.amount) }),
          }
        : {
            dest: base64(target.pubkey),
            amt_msat: String(target.amount),
            payment_hash: base64(payment.paymentHash),
            dest_features: ['TLV_ONION_OPT'],
            dest_custom_records: {
              ...Object.fromEntries(Object.entries(target.records).map(([type, hex]) => [type, base64(hex)])),
              [KEYSEND_RECORD]: base64(target.preimage),
            },
          }),
    }
    return lastWord(http, { path: '/v2/router/send', body: how, signal: stopped.signal })
  }

  return {
    status: () => statusOf(http),
    makeInvoice: (draft) => makeInvoice(http, draft),
    async lookUpInvoice(paymentHash) {
      try {
        const found = read(invoiceSchema, await http.get(`/v1/invoice/${paymentHash}`))
        return toInvoice(found)
      } catch (error) {
        if (isUnknown(error)) return undefined
        throw error
      }
    },
    async settle(preimage) {
      await http.post('/v2/invoices/settle', { preimage: base64(preimage) })
    },
    async cancel(paymentHash) {
      try {
        await http.post('/v2/invoices/cancel', { payment_hash: base64(paymentHash) })
      } catch (error) {
        if (error instanceof LndWord && /already cancell?ed/i.test(error.message)) return
        throw error
      }
    },
    pay,
    async track(paymentHash) {
      try {
        const path = `/v2/router/track/${inPath(paymentHash)}`
        return await lastWord(http, { path, signal: stopped.signal })
      } catch (error) {
        if (isUnknown(error)) return undefined
        throw error
      }
    },
    watchInvoices(on) {
      return again(stopped.signal, async (signal, opened) => {
        try {
          await http.stream(
            {
              path: '/v1/invoices/subscribe',
              signal,
              quiet: true,
              onAsked: on.connected,
            },
            (line) => {
              opened()
              const { state, r_hash } = read(invoiceSchema, line)
              if (state !== 'OPEN') on.invoice(r_hash)
            },
          )
          throw new NodeError('unreachable', 'LND has closed the connection.')
        } catch (error) {
          if (!signal.aborted && error instanceof NodeError) on.lost(error)
          throw error
        }
      })
    },
    watchHold(paymentHash, changed) {
      return again(stopped.signal, async (signal, opened) => {
        let last = ''
        const path = `/v2/invoices/subscribe/${inPath(paymentHash)}`
        await http.stream({ path, signal }, (line) => {
          opened()
          last = read(invoiceSchema, line).state
          if (last !== 'OPEN') changed()
        })
        return last === 'SETTLED' || last === 'CANCELED'
      })
    },
    close() {
      stopped.abort()
      http.close()
    },
  }
}

/** Runs `attempt` until it says that it is done or the returned function is called; waits longer after each failure. */
function again(
  all: AbortSignal,
  attempt: (signal: AbortSignal, opened: () => void) => Promise<boolean | void>,
): () => void {
  const own = new AbortController()
  const signal = AbortSignal.any([all, own.signal])
  const run = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted;) {
      try {
        if (await attempt(signal, () => (failures = 0))) return
      } catch {
        failures++
      }
      const pause = AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)] ?? 0
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause)
        timer.unref()
        signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
      })
    }
  }
  void run()
  return () => own.abort()
}

async function statusOf(http: LndHttp): Promise<NodeStatus> {
  const { state } = read(stateSchema, await http.get('/v1/state'))
  if (state === 'LOCKED' || state === 'NON_EXISTING')
    throw new NodeError('locked', "LND's wallet is locked. Unlock it: lncli unlock.")
  if (state !== 'SERVER_ACTIVE') throw new NodeError('starting', `LND is starting (${state}). Wait for it.`)
  const info = read(infoSchema, await http.get('/v1/getinfo'))
  if (!info.synced_to_chain)
    throw new NodeError(
      'syncing',
      `LND is catching up with the chain (block ${info.block_height}). Wait for it.`,
    )
  const network = NETWORKS[info.chains[0]?.network ?? '']
  if (!network) throw new NodeError('not-a-node', `LND is on a chain that is unknown here.`)
  const { local_balance } = read(balanceSchema, await http.get('/v1/balance/channels'))
  return {
    pubkey: info.identity_pubkey,
    alias: info.alias,
    network,
    money: await moneyOf(http, network, info.identity_pubkey),
    blockHeight: info.block_height,
    blockHash: info.block_hash,
    spendableMsat: local_balance?.msat ?? 0,
  }
}

/** A regtest chain is named by its first block, so that the nodes on it trade with each other and with no other's. */
async function moneyOf(http: LndHttp, network: Network, pubkey: string): Promise<NodeStatus['money']> {
  if (network === 'mainnet') return 'bitcoin'
  if (network !== 'regtest') return 'testnet'
  try {
    const answer = await http.get('/v2/chainkit/blockhash?block_height=1')
    const { block_hash } = read(v.object({ block_hash: bytesField }), answer)
    return parseMoney(`regtest:${block_hash}`) ?? `regtest:${pubkey}`
  } catch (error) {
    if (error instanceof LndWord) return `regtest:${pubkey}`
    throw error
  }
}

async function makeInvoice(http: LndHttp, draft: InvoiceDraft): Promise<string> {
  const { paymentHash, preimage, amount, description, descriptionHash, expirySeconds } = draft
  const common = {
    value_msat: String(amount),
    expiry: String(expirySeconds),
    ...(descriptionHash === undefined
      ? { memo: description }
      : { description_hash: base64(descriptionHash) }),
    private: true,
  }
  try {
    const made =
      preimage === undefined
        ? await http.post('/v2/invoices/hodl', { ...common, hash: base64(paymentHash) })
        : await http.post('/v1/invoices', { ...common, r_preimage: base64(preimage) })
    return read(madeSchema, made).payment_request
  } catch (error) {
    if (!(error instanceof LndWord) || error.code !== 'refused') throw error
    // Asked twice, perhaps by a process that died in between: the one that is there is the right one, if it is the same.
    const found = await http.get(`/v1/invoice/${paymentHash}`).then(
      (answer) => read(v.object({ ...invoiceSchema.entries, value_msat: number }), answer),
      () => undefined,
    )
    if (found?.state === 'OPEN' && found.value_msat === amount) return found.payment_request
    throw error
  }
}

function toInvoice(told: v.InferOutput<typeof invoiceSchema>): NodeInvoice {
  switch (told.state) {
    case 'OPEN':
      return { tag: 'open' }
    case 'CANCELED':
      return { tag: 'cancelled' }
    case 'ACCEPTED': {
      const locked = told.htlcs.filter(({ state }) => state === 'ACCEPTED')
      return { tag: 'accepted', received: locked.reduce((sum, { amt_msat }) => sum + amt_msat, 0) }
    }
    case 'SETTLED': {
      const { amt_paid_msat: received, r_preimage: preimage, settle_date } = told
      return { tag: 'settled', received, preimage, atMs: settle_date * 1000 }
    }
    default:
      return told.state satisfies never
  }
}

const isUnknown = (error: unknown): boolean =>
  error instanceof LndWord &&
  (error.grpc === GRPC.notFound ||
    /payment isn't initiated|unable to locate invoice|there are no existing invoices|no payments? found/i.test(
      error.message,
    ))

/** Reads a payment's stream to its end. @throws NodeError `unreachable` when it breaks off before */
async function lastWord(
  http: LndHttp,
  how: { path: string; body?: object; signal: AbortSignal },
): Promise<Paid> {
  let word: Paid | undefined
  await http.stream(how, (line) => {
    const told = read(paymentSchema, line)
    if (told.status === 'SUCCEEDED')
      word = { tag: 'paid', preimage: told.payment_preimage, fee: told.fee_msat }
    if (told.status === 'FAILED')
      word = { tag: 'failed', why: WORDS[told.failure_reason] ?? WORDS['FAILURE_REASON_ERROR'] ?? '' }
  })
  if (!word) throw new NodeError('unreachable', 'LND broke off before it said how the payment ended.')
  return word
}

const WORDS: Readonly<Record<string, string>> = {
  FAILURE_REASON_TIMEOUT: 'No route took the payment in time.',
  FAILURE_REASON_NO_ROUTE: 'There is no route to the payee within the fee limit.',
  FAILURE_REASON_ERROR: 'The node could not make the payment.',
  FAILURE_REASON_INCORRECT_PAYMENT_DETAILS:
    'The payee does not take this payment: cancelled, paid already or expired.',
  FAILURE_REASON_INSUFFICIENT_BALANCE: "The node's channels cannot send that much now.",
  FAILURE_REASON_CANCELED: 'The payment was cancelled at the node.',
}
