import { randomBytes } from 'node:crypto'
import { nip04 } from 'nostr-tools'
import { afterEach, describe, expect, test } from 'vitest'
import { fromHex, sha256Hex, toHex } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { encodeInvoice } from '../../core/money/bolt11.ts'
import { msat } from '../../core/money/msat.ts'
import { publicKey, signEvent, tagValue, type NostrEvent } from '../../core/nostr/event.ts'
import { decryptFrom, encryptTo } from '../nostr/nip44.ts'
import { PublishError, type Pool, type RelayStatus } from '../nostr/pool.ts'
import { MAX_IN_FLIGHT } from './nwc-transport.ts'
import { composeConnection, connectNwc } from './nwc.ts'
import { WalletError, type Wallet, type WalletEvent } from './wallet.ts'

const walletSecret = new Uint8Array(32).fill(11)
const clientSecret = new Uint8Array(32).fill(12)
const walletKey = publicKey(walletSecret)
const clientKey = publicKey(clientSecret)
const uri = composeConnection({
  wallet: walletKey,
  relays: ['wss://relay.invalid'],
  secret: toHex(clientSecret),
})
const preimage = '0b'.repeat(32)
const paymentHash = sha256Hex(fromHex(preimage))
const bolt11 = encodeInvoice(
  {
    ...{ prefix: 'lnbcrt', amount: msat(5000), paymentHash, paymentSecret: '0c'.repeat(32), description: '' },
    ...{ createdAtMs: Date.now(), expirySeconds: 600 },
  },
  walletSecret,
)
const settled = {
  ...{
    type: 'outgoing',
    state: 'settled',
    payment_hash: paymentHash,
    amount: 5000,
    fees_paid: 7,
    created_at: 1,
  },
  preimage,
}

type Said = { result?: unknown; error?: { code: string; message: string } } | 'silence' | 'noise' | 'unsent'
/** A wallet that says what the test tells it to, behind a pool without a network. */
function scripted(
  say: (method: string, params: Record<string, unknown>) => Said,
  encryption = 'nip44_v2 nip04',
) {
  const asked: string[] = []
  const ids: string[] = []
  let deliver: (event: NostrEvent) => void = () => undefined
  const status = liveCell<readonly RelayStatus[]>([{ url: 'wss://relay.invalid', connected: true }])
  const sign = (kind: number, tags: string[][], content: string): NostrEvent =>
    signEvent({ kind, created_at: 1, tags, content }, walletSecret, randomBytes(32))
  const seal = (text: string, how: string): string =>
    how === 'nip44_v2'
      ? encryptTo(walletSecret, clientKey, text)
      : nip04.encrypt(walletSecret, clientKey, text)
  const pool: Pool = {
    status,
    async publish(event) {
      ids.push(event.id)
      const how = tagValue(event, 'encryption') ?? 'nip04'
      const text =
        how === 'nip44_v2'
          ? decryptFrom(walletSecret, clientKey, event.content)
          : nip04.decrypt(walletSecret, clientKey, event.content)
      const { method, params } = JSON.parse(text) as { method: string; params: Record<string, unknown> }
      asked.push(method)
      const said = say(method, params)
      if (said === 'unsent') throw new PublishError('timed-out', false, 'No relay could be reached.')
      if (said === 'silence') return
      const answer = said === 'noise' ? 'noise' : seal(JSON.stringify({ result_type: method, ...said }), how)
      deliver(sign(23195, [['e', event.id]], answer))
    },
    subscribe(_, onEvent) {
      deliver = onEvent
      onEvent(sign(13194, encryption ? [['encryption', encryption]] : [], 'pay_invoice'))
      return () => undefined
    },
    close: () => undefined,
  }
  return {
    ...{ pool, asked, ids, status },
    restart: () => deliver(sign(13194, [['encryption', encryption]], 'pay_invoice')),
    notify: (kind: number, body: unknown) =>
      deliver(
        sign(kind, [['p', clientKey]], seal(JSON.stringify(body), kind === 23197 ? 'nip44_v2' : 'nip04')),
      ),
  }
}

const open: Wallet[] = []
afterEach(() => {
  for (const wallet of open.splice(0)) wallet.close()
})
async function connect(...args: Parameters<typeof scripted>) {
  const script = scripted(...args)
  const wallet = await connectNwc(uri, { pool: script.pool, replyTimeoutMs: 50, payTimeoutMs: 50 })
  open.push(wallet)
  return { ...script, wallet }
}

test('a wallet that tells the same connections again and again is not asked for ever', async () => {
  const one = {
    ...{ pubkey: clientKey, parent: walletKey, name: 'pi', state: 'active', request_methods: [] },
    ...{ isolated: false, used_budget: 0, locked: 0, available: 0, budget_renewal: 'never', created_at: 1 },
  }
  let asks = 0
  const { wallet } = await connect(() =>
    ++asks > 20 ? 'silence' : { result: { connections: [one], total: 1_000_000 } },
  )
  expect(await wallet.listConnections()).toMatchObject([{ client: clientKey }])
  expect(asks).toBe(2)
})

describe('paying, when answers fail', () => {
  test.each(['RATE_LIMITED', 'INSUFFICIENT_BALANCE', 'QUOTA_EXCEEDED'])(
    'that a second request is refused (%s) says nothing of the first, which has no answer',
    async (code) => {
      let asks = 0
      const { wallet } = await connect((method) => {
        if (method === 'pay_invoice') return ++asks === 1 ? 'silence' : { error: { code, message: 'no' } }
        return { error: { code: 'NOT_FOUND', message: 'not taken up yet' } }
      })
      expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
      expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
    },
  )

  test('an answer that is lost is looked up: paid is paid', async () => {
    const { wallet, asked } = await connect((method) =>
      method === 'pay_invoice' ? 'silence' : { result: settled },
    )
    expect(await wallet.pay(bolt11)).toEqual({ tag: 'paid', preimage, fees: 7 })
    expect(asked).toEqual(['pay_invoice', 'lookup_invoice'])
  })

  test('no answer at all is unknown, never failed; the next try looks before it pays', async () => {
    let answering = false
    const { wallet, asked } = await connect(() => (answering ? { result: settled } : 'silence'))
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
    answering = true
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'paid', preimage })
    expect(asked).toEqual(['pay_invoice', 'lookup_invoice', 'lookup_invoice'])
  })

  test('what is still locked stays unknown and is not paid again', async () => {
    const { wallet, asked } = await connect((method) =>
      method === 'pay_invoice'
        ? 'silence'
        : { result: { ...settled, state: 'pending', preimage: undefined } },
    )
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
    expect(asked.filter((method) => method === 'pay_invoice')).toHaveLength(1)
  })

  test('a proof that does not match the invoice is not taken', async () => {
    const { wallet } = await connect(() => ({ result: { preimage: 'ff'.repeat(32) } }))
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
  })

  test('an answer that cannot be read ends the request at once', async () => {
    const { wallet } = await connect(() => 'noise')
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'unknown' })
    await expect(wallet.balance()).rejects.toMatchObject({ code: 'unreachable' })
  })

  test('what was never sent has failed and may be tried again', async () => {
    const { wallet, asked } = await connect(() => 'unsent')
    expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'failed', code: 'unreachable' })
    expect(asked).toEqual(['pay_invoice'])
  })

  test.each([
    ['INSUFFICIENT_BALANCE', 'insufficient-balance', ['pay_invoice']],
    ['QUOTA_EXCEEDED', 'quota-exceeded', ['pay_invoice']],
    ['PAYMENT_FAILED', 'payment-failed', ['pay_invoice', 'lookup_invoice']],
    ['SOMETHING_NEW', 'other', ['pay_invoice', 'lookup_invoice']],
  ])('%s becomes %s', async (code, expected, calls) => {
    const { wallet, asked } = await connect((method) =>
      method === 'pay_invoice'
        ? { error: { code, message: 'why' } }
        : { error: { code: 'NOT_FOUND', message: 'never heard of it' } },
    )
    expect(await wallet.pay(bolt11)).toEqual({ tag: 'failed', code: expected, message: 'why' })
    expect(asked).toEqual(calls)
  })
})

test('a payment made while the history is read moves it by one: nothing is told twice', async () => {
  const hash = (n: number): string => n.toString(16).padStart(64, '0')
  const all = Array.from({ length: 80 }, (_, n) => ({
    ...settled,
    payment_hash: hash(80 - n),
    preimage: undefined,
  }))
  const { wallet } = await connect((_method, { offset }) => {
    const transactions = all.slice(Number(offset), Number(offset) + 50)
    all.unshift({ ...settled, payment_hash: hash(all.length + 1), preimage: undefined })
    return { result: { transactions } }
  })
  const history = await wallet.history({ limit: 70, offset: 0 })
  expect(history.map(({ paymentHash }) => paymentHash)).toEqual(
    Array.from({ length: 70 }, (_, n) => hash(80 - n)),
  )
})

describe('the connection', () => {
  test('a typo is refused with words and without the secret', async () => {
    const broken = uri.slice(0, -1)
    await expect(connectNwc(broken)).rejects.toThrow(WalletError)
    await expect(connectNwc(broken)).rejects.toThrow(/63 characters instead of 64/)
    await expect(connectNwc(broken)).rejects.not.toThrow(toHex(clientSecret).slice(0, 10))
  })

  test('an unanswered request is sent again with the same id when a relay comes back', async () => {
    const { wallet, ids, status } = await connect(() => 'silence')
    const waiting = expect(wallet.balance()).rejects.toMatchObject({ code: 'unreachable' })
    const turn = () => new Promise((resolve) => setImmediate(resolve))
    while (ids.length === 0) await turn()
    await turn() // the relay's OK
    status.set([{ url: 'wss://relay.invalid', connected: false, trouble: 'gone' }])
    expect(wallet.status.get()).toEqual({ connected: false, trouble: 'gone' })
    status.set([{ url: 'wss://relay.invalid', connected: true }])
    expect(wallet.status.get()).toEqual({ connected: true })
    await waiting
    expect(ids).toEqual([ids[0], ids[0]])
  })

  test('a wallet that starts again is asked again, with the same request', async () => {
    const { wallet, ids, restart } = await connect(() => 'silence')
    const turn = () => new Promise((resolve) => setImmediate(resolve))
    const asked = wallet.balance().catch(() => undefined)
    while (ids.length === 0) await turn()
    await turn()
    restart()
    expect(ids).toEqual([ids[0], ids[0]])
    await asked
  })

  test('more requests than can be in flight are refused at once', async () => {
    const { wallet } = await connect(() => 'silence')
    const all = Array.from({ length: MAX_IN_FLIGHT + 1 }, () =>
      wallet.balance().catch((e: unknown) => (e as WalletError).code),
    )
    const codes = await Promise.all(all)
    expect(codes.filter((code) => code === 'rate-limited')).toHaveLength(1)
  }, 20_000)

  test('a wallet that says nothing of encryption is spoken to in NIP-04', async () => {
    const { wallet } = await connect(() => ({ result: { balance: 3 } }), '')
    expect(await wallet.balance()).toBe(3)
  })

  test('a result of the wrong shape is an error, not a number', async () => {
    const { wallet } = await connect(() => ({ result: { balance: '3' } }))
    await expect(wallet.balance()).rejects.toMatchObject({ code: 'other' })
  })

  test('an invoice over another amount is refused', async () => {
    const { wallet } = await connect(() => ({ result: { invoice: bolt11 } }))
    const request = { description: '', expirySeconds: 60 }
    await expect(wallet.makeInvoice({ ...request, amount: msat(4999) })).rejects.toThrow(/other than the one/)
    await expect(
      wallet.makeHoldInvoice({ ...request, amount: msat(5000), paymentHash: sha256Hex(fromHex('aa')) }),
    ).rejects.toThrow(/other than the one/)
    expect(await wallet.makeInvoice({ ...request, amount: msat(5000) })).toMatchObject({ paymentHash })
  })

  test('what is told twice, in both encryptions, arrives once; a block height is no time', async () => {
    const { wallet, notify } = await connect(() => ({ result: { balance: 0 } }))
    await wallet.balance()
    const events: WalletEvent[] = []
    wallet.onEvent((event) => events.push(event))
    const accepted = {
      ...settled,
      type: 'incoming',
      state: 'accepted',
      preimage: undefined,
      settle_deadline: 800_144,
    }
    const body = { notification_type: 'hold_invoice_accepted', notification: accepted }
    notify(23197, body)
    notify(23196, body)
    notify(23197, { notification_type: 'weather', notification: {} })
    expect(events).toHaveLength(1)
    const [event] = events
    if (event?.tag !== 'hold-accepted') throw new Error('not accepted')
    expect(event.settleByMs).toBeGreaterThan(Date.now())
  })

  test.each([
    [{ network: 'mainnet' }, 'bitcoin'],
    [{}, 'bitcoin'],
    [{ network: 'signet' }, 'testnet'],
    [{ network: 'regtest', pubkey: 'node' }, 'regtest:node'],
    [{ network: 'regtest', satpatch: { money: 'sandbox:x' } }, 'sandbox:x'],
  ])('money of %j is %s', async (told, money) => {
    const { wallet } = await connect(() => ({
      result: { methods: ['pay_invoice', 'make_invoice'], ...told },
    }))
    const info = await wallet.info()
    expect(info.money).toBe(money)
    expect([...info.features].toSorted()).toEqual(['pay', 'receive'])
  })
})
