/**
 * For tests: a scripted HTTP server that answers as LND's REST interface does, with a memory of invoices and payments
 * and a switch for each way to fail. Nothing here is Lightning; the real thing is in `e2e/lnd-lab`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { encodeInvoice } from '../../../web/core/money/bolt11.ts'
import type { Msat } from '../../../web/core/money/msat.ts'
import type { Sha256Hex } from '../../../web/core/bytes.ts'

const hex = (base64: unknown): string => Buffer.from(String(base64), 'base64').toString('hex')
const base64 = (text: string): string => Buffer.from(text, 'hex').toString('base64')
const sha256 = (text: string): string => createHash('sha256').update(Buffer.from(text, 'hex')).digest('hex')

type FakeInvoice = {
  hash: string
  preimage: string
  bolt11: string
  valueMsat: number
  state: 'OPEN' | 'ACCEPTED' | 'SETTLED' | 'CANCELED'
  paidMsat: number
}
type FakePayment = {
  hash: string
  status: 'IN_FLIGHT' | 'SUCCEEDED' | 'FAILED'
  preimage: string
  feeMsat: number
}
export type SendBody = {
  payment_request?: string
  payment_hash?: string
  fee_limit_msat: string
  amt_msat?: string
}

export type FakeLnd = {
  url: string
  /** Every `/v2/router/send` that arrived. */
  sent: SendBody[]
  /** The payments that were asked about, in order. */
  tracked: string[]
  invoices: Map<string, FakeInvoice>
  payments: Map<string, FakePayment>
  /** What a sent payment comes to. `lost`: it is taken and the connection breaks; `deaf`: it breaks before. */
  outcome: {
    next: 'paid' | 'failed' | 'waits' | 'lost' | 'deaf'
    feeMsat: number
    preimages: Map<string, string>
  }
  state: string
  synced: boolean
  macaroon: string
  /** Ends a payment that waits. */
  finish(hash: string, status: 'SUCCEEDED' | 'FAILED'): void
  /** Somebody pays one of its invoices. */
  receive(hash: string, msat?: number): void
  /** Breaks every stream off. */
  drop(): void
  stop(): Promise<void>
}

const PUBKEY = `02${'ab'.repeat(32)}`

/** `port`: the same address as before, so that a node can come back. */
export async function startFakeLnd(port = 0): Promise<FakeLnd> {
  const secret = new Uint8Array(randomBytes(32))
  const listeners = new Set<() => void>()
  const told = (): void => {
    for (const look of listeners) look()
  }
  const open = new Set<ServerResponse>()
  const fake = {
    url: '',
    sent: [] as SendBody[],
    tracked: [] as string[],
    invoices: new Map<string, FakeInvoice>(),
    payments: new Map<string, FakePayment>(),
    outcome: { next: 'paid', feeMsat: 0, preimages: new Map() } as FakeLnd['outcome'],
    state: 'SERVER_ACTIVE',
    synced: true,
    macaroon: 'ab'.repeat(60),
  }
  const tellInvoice = ({ hash, preimage, bolt11, state, paidMsat, valueMsat }: FakeInvoice): object => ({
    ...{ state, payment_request: bolt11, r_hash: base64(hash), value_msat: String(valueMsat) },
    ...{ r_preimage: base64(preimage), amt_paid_msat: String(paidMsat), settle_date: '1700000000' },
    htlcs:
      paidMsat > 0
        ? [{ state: state === 'ACCEPTED' ? 'ACCEPTED' : 'SETTLED', amt_msat: String(paidMsat) }]
        : [],
  })
  const tellPayment = ({ status, preimage, feeMsat }: FakePayment): object => ({
    ...{ status, payment_preimage: preimage, fee_msat: String(feeMsat) },
    failure_reason: status === 'FAILED' ? 'FAILURE_REASON_NO_ROUTE' : 'FAILURE_REASON_NONE',
  })

  const serve = (body: Record<string, unknown>, request: IncomingMessage, response: ServerResponse): void => {
    const path = new URL(request.url ?? '', 'http://fake').pathname
    const answer = (value: object, status = 200): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    const wrong = (code: number, message: string, status = 500): void => answer({ code, message }, status)
    const streamed = (look: () => { lines: object[]; done: boolean } | undefined): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
      open.add(response)
      const run = (): void => {
        const found = look()
        for (const result of found?.lines ?? []) response.write(`${JSON.stringify({ result })}\n`)
        if (found?.done) response.end()
      }
      listeners.add(run)
      response.once('close', () => (listeners.delete(run), open.delete(response)))
      run()
    }
    const awaitPayment = (hash: string): void =>
      streamed(() => {
        const payment = fake.payments.get(hash)
        return payment && payment.status !== 'IN_FLIGHT'
          ? { lines: [tellPayment(payment)], done: true }
          : undefined
      })
    if (path === '/v1/state') return answer({ state: fake.state })
    if (request.headers['grpc-metadata-macaroon'] !== fake.macaroon)
      return wrong(2, 'verification failed: signature mismatch after caveat verification')
    const last = path.split('/').at(-1) ?? ''
    const named = hex(last.replaceAll('-', '+').replaceAll('_', '/'))

    if (path === '/v1/getinfo')
      return answer({
        ...{ identity_pubkey: PUBKEY, alias: 'fake', block_height: 500, block_hash: '00'.repeat(32) },
        ...{ synced_to_chain: fake.synced, chains: [{ chain: 'bitcoin', network: 'regtest' }] },
      })
    if (path === '/v1/balance/channels')
      return answer({ local_balance: { sat: '1000000', msat: '1000000000' } })
    if (path === '/v2/chainkit/blockhash') return answer({ block_hash: base64('cd'.repeat(32)) })
    if (path === '/v1/invoices' || path === '/v2/invoices/hodl') {
      const preimage = body['r_preimage'] === undefined ? '' : hex(body['r_preimage'])
      const hash = preimage ? sha256(preimage) : hex(body['hash'])
      if (fake.invoices.has(hash)) return wrong(2, 'invoice with payment hash already exists')
      const valueMsat = Number(body['value_msat'])
      const bolt11 = encodeInvoice(
        {
          prefix: 'lnbcrt',
          ...(valueMsat > 0 && { amount: valueMsat as Msat }),
          paymentHash: hash as Sha256Hex,
          paymentSecret: randomBytes(32).toString('hex'),
          description: typeof body['memo'] === 'string' ? body['memo'] : '',
          createdAtMs: Date.now(),
          expirySeconds: Number(body['expiry']),
        },
        secret,
      )
      fake.invoices.set(hash, { hash, preimage, bolt11, valueMsat, state: 'OPEN', paidMsat: 0 })
      return answer({ payment_request: bolt11, r_hash: base64(hash) })
    }
    if (path === '/v1/invoices/subscribe') {
      const known = new Set([...fake.invoices.values()].filter(({ state }) => state === 'SETTLED'))
      return streamed(() => {
        const fresh = [...fake.invoices.values()].filter((one) => one.state === 'SETTLED' && !known.has(one))
        for (const one of fresh) known.add(one)
        return { lines: fresh.map(tellInvoice), done: false }
      })
    }
    if (path.startsWith('/v2/invoices/subscribe/')) {
      let state = ''
      return streamed(() => {
        const invoice = fake.invoices.get(named)
        if (!invoice || invoice.state === state) return undefined
        state = invoice.state
        return { lines: [tellInvoice(invoice)], done: state === 'SETTLED' || state === 'CANCELED' }
      })
    }
    if (path.startsWith('/v1/invoice/')) {
      const invoice = fake.invoices.get(last)
      return invoice ? answer(tellInvoice(invoice)) : wrong(5, 'unable to locate invoice', 404)
    }
    if (path === '/v2/invoices/settle') {
      const invoice = fake.invoices.get(sha256(hex(body['preimage'])))
      if (invoice?.state !== 'ACCEPTED') return wrong(2, 'invoice still open')
      Object.assign(invoice, { state: 'SETTLED', preimage: hex(body['preimage']) })
      told()
      return answer({})
    }
    if (path === '/v2/invoices/cancel') {
      const invoice = fake.invoices.get(hex(body['payment_hash']))
      if (!invoice) return wrong(5, 'unable to locate invoice', 404)
      if (invoice.state === 'SETTLED') return wrong(2, 'invoice already settled')
      invoice.state = 'CANCELED'
      told()
      return answer({})
    }
    if (path === '/v2/router/send') {
      if (fake.outcome.next === 'deaf') return void request.socket.destroy()
      const asked = body as SendBody
      fake.sent.push(asked)
      const hash = asked.payment_hash ? hex(asked.payment_hash) : hashIn(asked.payment_request ?? '')
      const known = fake.payments.get(hash)
      if (known && known.status !== 'FAILED') {
        const message = known.status === 'IN_FLIGHT' ? 'payment is in transition' : 'invoice is already paid'
        return answer({ error: { code: 6, message } }, 409)
      }
      const { next, feeMsat, preimages } = fake.outcome
      const status = next === 'failed' ? 'FAILED' : next === 'waits' ? 'IN_FLIGHT' : 'SUCCEEDED'
      fake.payments.set(hash, { hash, status, preimage: preimages.get(hash) ?? 'ee'.repeat(32), feeMsat })
      if (next === 'lost') return void request.socket.destroy()
      return awaitPayment(hash)
    }
    if (path.startsWith('/v2/router/track/')) {
      fake.tracked.push(named)
      if (!fake.payments.has(named))
        return answer({ error: { code: 5, message: "payment isn't initiated" } }, 404)
      return awaitPayment(named)
    }
    return wrong(5, 'Not Found', 404)
  }

  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8')
    request.on('data', (chunk: string) => (text += chunk))
    request.on('end', () =>
      serve((text ? JSON.parse(text) : {}) as Record<string, unknown>, request, response),
    )
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  fake.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const drop = (): void => {
    for (const response of open) response.destroy()
  }
  return Object.assign(fake, {
    finish(hash: string, status: 'SUCCEEDED' | 'FAILED') {
      const payment = fake.payments.get(hash)
      if (payment) payment.status = status
      told()
    },
    receive(hash: string, msat?: number) {
      const invoice = fake.invoices.get(hash)
      if (!invoice || invoice.state !== 'OPEN') throw new Error('no such open invoice')
      invoice.paidMsat = msat ?? invoice.valueMsat
      invoice.state = invoice.preimage === '' ? 'ACCEPTED' : 'SETTLED'
      told()
    },
    drop,
    async stop() {
      drop()
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
    },
  })
}

/** The fake reads no invoices: tests tell it their hashes. */
function hashIn(bolt11: string): string {
  const found = hashes.get(bolt11)
  if (found === undefined) throw new Error('an invoice that the test did not name')
  return found
}
const hashes = new Map<string, string>()
/** Tells the fake what an invoice's payment hash is. */
export const nameInvoice = (bolt11: string, hash: string): void => void hashes.set(bolt11, hash)
