import fc from 'fast-check'
import { mkdtempSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test, vi } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { ERROR_CODES, METHODS } from '../../web/core/wallet/nip47.ts'
import { silent, startService } from './harness.ts'
import { createWalletService, REQUEST_WINDOW_MS } from './service.ts'
import { rawClient } from './raw-client.ts'
import { balanceOf, begin, directories, invoiceOf, open } from './test-services.ts'

const preimage = '0a'.repeat(32)
const holdHash = sha256Hex(fromHex(preimage))

describe('NIP-47', () => {
  test('the info event names methods, encryption and notifications', async () => {
    const { core, wallet } = await begin()
    const [row = 0] = core.store.find({ kinds: [13194], authors: [wallet.walletPubkey] }, 0, 1)
    const info = JSON.parse(core.store.json(row) ?? '') as NostrEvent
    expect(info.content.split(' ')).toEqual([...METHODS, 'notifications'])
    expect(info.tags).toContainEqual(['encryption', 'nip44_v2 nip04'])
    expect(info.tags).toContainEqual([
      'notifications',
      'payment_received payment_sent hold_invoice_accepted connection_updated',
    ])
  })

  test('get_info says that this is play money and what else it can do', async () => {
    const client = await open(await begin())
    expect(client.ask('get_info')).toMatchObject({
      result_type: 'get_info',
      error: null,
      result: {
        network: 'regtest',
        methods: METHODS,
        satpatch: { money: 'sandbox:test', preimage_invoices: true, isolated: true },
      },
    })
  })

  test('NIP-04 clients are answered and notified in NIP-04, others in NIP-44', async () => {
    const service = await begin()
    const [old, modern] = [await open(service), await open(service)]
    const [reply] = old.send(
      old.event({ method: 'make_invoice', params: { amount: 5 } }, { encryption: 'nip04' }),
    )
    expect(modern.ask('pay_invoice', { invoice: reply?.result?.['invoice'] }).error).toBeNull()
    expect(old.notifications.map(({ kind }) => kind)).toEqual([23196])
    expect(modern.notifications.map(({ kind }) => kind)).toEqual([23197])
    expect(old.notifications[0]?.body).toMatchObject({
      notification_type: 'payment_received',
      notification: { type: 'incoming', state: 'settled', amount: 5 },
    })
  })

  test('no encryption tag means NIP-04; an unknown one is refused by name', async () => {
    const service = await begin()
    const client = await open(service)
    const p = ['p', service.wallet.walletPubkey]
    const body = { method: 'get_balance', params: {} }
    expect(client.send(client.event(body, { encryption: 'nip04', tags: [p] }))[0]?.result).toEqual({
      balance: 10_000,
    })
    const unknown = client.event(body, { encryption: 'nip04', tags: [p, ['encryption', 'rot13']] })
    expect(client.send(unknown)[0]?.error?.code).toBe('UNSUPPORTED_ENCRYPTION')
  })

  test('errors carry the codes of the standard', async () => {
    const service = await begin()
    const [client, other] = [await open(service), await open(service)]
    const code = (method: string, params: object = {}): unknown => client.ask(method, params).error?.code
    expect(code('fly_to_moon')).toBe('NOT_IMPLEMENTED')
    expect(code('lookup_invoice', { payment_hash: holdHash })).toBe('NOT_FOUND')
    expect(code('lookup_invoice')).toBe('OTHER')
    expect(code('make_invoice', { amount: -1 })).toBe('OTHER')
    expect(code('make_invoice', { amount: 1.5 })).toBe('OTHER')
    expect(code('make_invoice', { amount: 1, description: 'x'.repeat(640) })).toBe('OTHER')
    expect(code('pay_invoice', { invoice: invoiceOf(other, 10_001) })).toBe('INSUFFICIENT_BALANCE')
    expect(code('pay_invoice', { invoice: invoiceOf(other, 5), amount: 6 })).toBe('OTHER')
    expect(code('pay_invoice', { invoice: 'lnbc1' })).toBe('PAYMENT_FAILED')
    expect(code('settle_hold_invoice', { preimage })).toBe('NOT_FOUND')
    expect(code('cancel_hold_invoice', { payment_hash: holdHash })).toBe('NOT_FOUND')
    const stranger = rawClient(service, new Uint8Array(32).fill(9))
    expect(stranger.ask('get_balance').error?.code).toBe('UNAUTHORIZED')
    expect(balanceOf(client)).toBe(10_000)
  })

  test('answers to strangers are limited', async () => {
    const service = await begin()
    const stranger = rawClient(service, new Uint8Array(32).fill(9))
    const event = stranger.event({ method: 'get_balance' })
    let answered = 0
    for (let i = 0; i < 130; i++) answered += stranger.send(event).length
    expect(answered).toBeGreaterThanOrEqual(60)
    // Twice the limit, should a minute end in between.
    expect(answered).toBeLessThanOrEqual(120)
  })

  test('create_connection: asked again with the same words it is the same; otherwise refused', async () => {
    const service = await begin()
    const client = await open(service)
    const params = {
      pubkey: '12'.repeat(32),
      name: 'pi',
      request_methods: ['pay_invoice', 'get_balance'],
      max_amount: 4000,
      isolated: true,
    }
    const first = client.ask('create_connection', params)
    expect(first.result).toEqual({ wallet_pubkey: service.wallet.walletPubkey, relays: [service.url] })
    expect(client.ask('create_connection', params)).toEqual(first)
    expect(balanceOf(client)).toBe(6000)
    expect(client.ask('create_connection', { ...params, max_amount: 1 }).error?.code).toBe('OTHER')
    const fresh = { ...params, pubkey: '15'.repeat(32) }
    // Half of all keys are no points of the curve: nothing could be told to them.
    expect(client.ask('create_connection', { ...params, pubkey: '13'.repeat(32) }).error?.code).toBe('OTHER')
    expect(client.ask('create_connection', { ...fresh, max_amount: 6001 }).error?.code).toBe(
      'INSUFFICIENT_BALANCE',
    )
    expect(client.ask('create_connection', { ...fresh, budget_renewal: 'daily' }).error?.code).toBe('OTHER')
    expect(client.ask('create_connection', { ...fresh, expires_at: 1000 }).error?.code).toBe('OTHER')
    expect(client.ask('create_connection', { ...fresh, request_methods: ['fly'] }).error?.code).toBe('OTHER')
    expect(balanceOf(client)).toBe(6000)
  })

  test('a connection cannot pass on what it may not do itself', async () => {
    const service = await begin()
    const client = await open(service)
    const secret = new Uint8Array(32).fill(5)
    const child = rawClient(service, secret)
    const made = client.ask('create_connection', {
      ...{ pubkey: child.key, name: 'child', request_methods: ['make_invoice', 'create_connection'] },
    })
    expect(made.error).toBeNull()
    expect(child.ask('get_balance').error?.code).toBe('RESTRICTED')
    const greedy = { pubkey: '18'.repeat(32), name: 'x', request_methods: ['pay_invoice'] }
    expect(child.ask('create_connection', greedy).error?.code).toBe('RESTRICTED')
  })

  test('a budget is renewed with its period', async () => {
    const service = await begin()
    const [client, shop] = [await open(service), await open(service, 0)]
    const child = rawClient(service, new Uint8Array(32).fill(5))
    client.ask('create_connection', {
      ...{ pubkey: child.key, name: 'daily', request_methods: ['pay_invoice', 'get_budget'] },
      ...{ max_amount: 1000, budget_renewal: 'daily' },
    })
    const pay = (amount: number): unknown =>
      child.ask('pay_invoice', { invoice: invoiceOf(shop, amount) }).error?.code ?? 'paid'
    expect([pay(1000), pay(1)]).toEqual(['paid', 'QUOTA_EXCEEDED'])
    service.advance(24 * 3600_000)
    expect(pay(999)).toBe('paid')
    const tomorrow = new Date(service.now())
    expect(child.ask('get_budget').result).toEqual({
      used_budget: 999,
      total_budget: 1000,
      renewal_period: 'daily',
      renews_at: tomorrow.setUTCHours(24, 0, 0, 0) / 1000,
    })
  })

  test('a connection with a budget sees what is left of it and what passed it, not the account it spends from', async () => {
    const service = await begin()
    const [owner, shop] = [await open(service), await open(service, 0)]
    const holder = (byte: number) => rawClient(service, new Uint8Array(32).fill(byte))
    const [child, below] = [holder(5), holder(6)]
    const request_methods = [
      'pay_invoice',
      'make_invoice',
      'get_balance',
      'list_transactions',
      'create_connection',
    ]
    owner.ask('create_connection', { pubkey: child.key, name: 'kitchen', request_methods, max_amount: 1000 })
    child.ask('create_connection', { pubkey: below.key, name: 'drawer', request_methods, max_amount: 700 })
    const listed = (of: typeof owner): unknown =>
      (of.ask('list_transactions', { unpaid: true }).result?.['transactions'] as { amount: number }[]).map(
        ({ amount }) => amount,
      )
    const pay = (from: typeof owner, amount: number): void => {
      service.advance(1000)
      expect(from.ask('pay_invoice', { invoice: invoiceOf(shop, amount) }).error).toBeNull()
    }
    pay(owner, 50)
    pay(child, 400)
    pay(below, 70)
    service.advance(1000)
    invoiceOf(child, 8)
    expect([owner, child, below].map(balanceOf)).toEqual([9480, 530, 530])
    expect([owner, child, below].map(listed)).toEqual([[8, 70, 400, 50], [8, 70, 400], [70]])
    // Where the account has less than the budget, that is all there is.
    pay(owner, 9000)
    expect([owner, child, below].map(balanceOf)).toEqual([480, 480, 480])
    owner.ask('update_connection', { pubkey: child.key, max_amount: 100 })
    expect([owner, child, below].map(balanceOf)).toEqual([480, 0, 0])
  })

  test('list_transactions: newest first, by side, by time, unpaid on request, never too long for a message', async () => {
    const service = await begin()
    const [client, other] = [await open(service), await open(service)]
    client.ask('pay_invoice', { invoice: invoiceOf(other, 1) })
    const between = Math.floor(service.now() / 1000) + 60
    service.advance(120_000)
    other.ask('pay_invoice', { invoice: invoiceOf(client, 2) })
    service.advance(120_000)
    invoiceOf(client, 3)
    const list = (params: object): unknown =>
      (client.ask('list_transactions', params).result?.['transactions'] as { amount: number }[]).map(
        (t) => t.amount,
      )
    expect(list({})).toEqual([2, 1])
    expect(list({ unpaid: true })).toEqual([3, 2, 1])
    expect(list({ type: 'incoming' })).toEqual([2])
    expect(list({ limit: 1, offset: 1 })).toEqual([1])
    expect(list({ until: between })).toEqual([1])
    for (let i = 0; i < 120; i++) client.ask('make_invoice', { amount: 9, description: 'x'.repeat(300) })
    const long = client.ask('list_transactions', { unpaid: true, limit: 500 })
    expect(JSON.stringify(long).length).toBeLessThan(48_000)
    expect((long.result?.['transactions'] as unknown[]).length).toBeGreaterThan(20)
  })
})

describe('what comes twice, late or broken', () => {
  test('a replayed request is answered alike and executed once, also after a restart', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'satpatch-replay-'))
    directories.push(dataDir)
    const secret = new Uint8Array(32).fill(3)
    const service = await startService({ dataDir, secret })
    const { connection } = await service.wallet.openAccount({ grantMsat: 1000 })
    const [client, shop] = [rawClient(service, connection), await open(service)]
    const refused = client.event({ method: 'pay_invoice', params: { invoice: invoiceOf(shop, 1001) } })
    const paid = client.event({ method: 'pay_invoice', params: { invoice: invoiceOf(shop, 400) } })
    const answers = [client.send(refused), client.send(paid)]
    expect(client.send(paid)).toEqual(answers[1])
    await service.stop()

    const again = await begin({ dataDir, secret })
    const same = rawClient(again, connection)
    expect(same.send(paid)).toEqual(answers[1])
    expect(balanceOf(same)).toBe(600)
    // Even when it would succeed now: the request was decided.
    expect(same.send(refused)).toEqual(answers[0])
  })

  test('a locked payment survives a restart; its answer comes when it is settled', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'satpatch-restart-'))
    directories.push(dataDir)
    const secret = new Uint8Array(32).fill(3)
    const service = await startService({ dataDir, secret })
    const payerUri = (await service.wallet.openAccount({ grantMsat: 1000 })).connection
    const payeeUri = (await service.wallet.openAccount({ grantMsat: 0 })).connection
    const payee = rawClient(service, payeeUri)
    const made = payee.ask('make_hold_invoice', { amount: 700, payment_hash: holdHash })
    const payer = rawClient(service, payerUri)
    const request = payer.event({ method: 'pay_invoice', params: { invoice: made.result?.['invoice'] } })
    expect(payer.send(request)).toEqual([])
    expect(payer.ask('get_balance').result).toEqual({ balance: 300 })
    await service.stop()

    const again = await begin({ dataDir, secret })
    const [payerAgain, payeeAgain] = [rawClient(again, payerUri), rawClient(again, payeeUri)]
    const answer = payerAgain.onReply(request.id)
    expect(payeeAgain.ask('settle_hold_invoice', { preimage }).error).toBeNull()
    expect((await answer).result).toEqual({ preimage, fees_paid: 0 })
    expect(payerAgain.send(request)[0]?.result).toEqual({ preimage, fees_paid: 0 })
    expect(balanceOf(payeeAgain)).toBe(700)
  })

  test('a hold whose limit passed while the service was down is returned at its start', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'satpatch-overdue-'))
    directories.push(dataDir)
    const secret = new Uint8Array(32).fill(3)
    const service = await startService({ dataDir, secret, holdLimitMs: 1 })
    const { connection } = await service.wallet.openAccount({ grantMsat: 1000 })
    const payee = await open(service)
    const made = payee.ask('make_hold_invoice', { amount: 700, payment_hash: holdHash })
    const payer = rawClient(service, connection)
    payer.send(payer.event({ method: 'pay_invoice', params: { invoice: made.result?.['invoice'] } }))
    await service.stop()
    const again = await begin({ dataDir, secret })
    expect(balanceOf(rawClient(again, connection))).toBe(1000)
  })

  test('an expired request is left alone, a clock far off is named', async () => {
    const service = await begin()
    const [client, shop] = [await open(service), await open(service)]
    const body = { method: 'pay_invoice', params: { invoice: invoiceOf(shop, 5) } }
    const tags = [
      ['p', service.wallet.walletPubkey],
      ['encryption', 'nip44_v2'],
    ]
    const s = Math.floor(service.now() / 1000)
    service.core.publish(client.event(body, { tags: [...tags, ['expiration', String(s - 1)]] }))
    const behind = client.send(client.event(body, { createdAt: s - 3700 }))
    expect(behind[0]?.error?.message).toMatch(/61|62.*behind/)
    const ahead = client.send(client.event(body, { createdAt: s + 3700 }))
    expect(ahead[0]?.error?.message).toMatch(/ahead of/)
    expect(balanceOf(client)).toBe(10_000)
    expect(
      client.send(client.event(body, { tags: [...tags, ['expiration', String(s + 60)]] }))[0]?.error,
    ).toBeNull()
  })

  test('nothing that a client can send crashes it or moves money', async () => {
    const errors: unknown[] = []
    const log = { ...silent, error: (data: object) => errors.push(data) }
    const service = await begin({ log })
    const client = await open(service)
    const method = fc.oneof(fc.constantFrom(...METHODS), fc.string())
    const known = ['amount', 'invoice', 'payment_hash', 'preimage', 'pubkey', 'limit', 'offset', 'max_amount']
    const params = fc.dictionary(fc.oneof(fc.constantFrom(...known), fc.string()), fc.jsonValue())
    const body = fc.oneof(fc.record({ method, params }), fc.jsonValue(), fc.string({ minLength: 1 }))
    fc.assert(
      fc.property(
        body.filter((value) => value !== ''),
        (value) => {
          const [reply] = client.send(client.event(value))
          if (reply?.error) expect(ERROR_CODES).toContain(reply.error.code)
          expect(reply?.error?.code).not.toBe('INTERNAL')
        },
      ),
      { numRuns: 150 },
    )
    for (const content of ['', 'not encrypted', 'A'.repeat(70_000), 'AAAA?iv=AAAA'])
      service.core.publish(client.event('', { content }))
    expect(balanceOf(client)).toBe(10_000)
    expect(service.wallet.health()).toEqual({ ok: true })
    expect(errors).toEqual([])
  })
})

test('the ledger is readable by its owner only and holds no secret of a connection', async () => {
  const service = await begin()
  const { connection } = await service.wallet.openAccount({ grantMsat: 5, name: 'volunteer' })
  const secret = new URLSearchParams(connection.split('?')[1]).get('secret') ?? ''
  expect(secret).toHaveLength(64)
  for (const name of ['wallet.sqlite', 'wallet.sqlite-wal', 'wallet.sqlite-shm']) {
    const file = join(service.dataDir, name)
    expect(statSync(file).mode & 0o077).toBe(0)
    expect(readFileSync(file).includes(secret)).toBe(false)
    expect(readFileSync(file).includes(Buffer.from(secret, 'hex'))).toBe(false)
  }
})

test('trouble with the database in a timer is logged and shown, and ends nothing', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'satpatch-wallet-'))
  directories.push(dataDir)
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'] })
  try {
    const errors: string[] = []
    const wallet = createWalletService({
      dataDir,
      relaySecret: new Uint8Array(32).fill(3),
      nostr: { publish: () => undefined, subscribe: () => () => undefined },
      nostrUrl: () => 'ws://relay.test',
      money: 'sandbox:test',
      log: { ...silent, error: (_, message) => void errors.push(message) },
    })
    const other = new DatabaseSync(join(dataDir, 'wallet.sqlite'))
    other.exec('ALTER TABLE requests RENAME TO away')
    other.close()
    vi.advanceTimersByTime(REQUEST_WINDOW_MS)
    expect(errors).toEqual(['the wallet could not forget old requests'])
    expect(wallet.health().ok).toBe(false)
    await wallet.stop()
  } finally {
    vi.useRealTimers()
  }
})
