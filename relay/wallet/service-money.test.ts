import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { LOOKS_BACK_MS } from './connections.ts'
import { startService } from './harness.ts'
import { createLimits } from './limits.ts'
import { rawClient, type RawClient } from './raw-client.ts'
import { balanceOf, begin, directories, invoiceOf, open } from './test-services.ts'

const holdHash = sha256Hex(fromHex('0a'.repeat(32)))

test('a ledger that does not add up is not served, and nothing in it is changed', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'satpatch-wallet-'))
  directories.push(dataDir)
  const first = await startService({ dataDir, secret: new Uint8Array(32).fill(3) })
  await first.wallet.openAccount({ grantMsat: 500 })
  await first.stop()
  const other = new DatabaseSync(join(dataDir, 'wallet.sqlite'))
  for (const sql of [
    "UPDATE accounts SET balance = balance + 1 WHERE kind = 'person'",
    "UPDATE accounts SET balance = balance - 1 WHERE kind = 'mint'",
  ]) {
    other.exec(sql)
    await expect(startService({ dataDir, secret: new Uint8Array(32).fill(3) })).rejects.toThrow(
      /does not add up/,
    )
  }
  other.close()
})

test('one client that asks too much is refused, then not answered, and is in nobody’s way', async () => {
  const service = await begin({ limits: createLimits(10, 20) })
  const [greedy, other] = [await open(service), await open(service)]
  const code = (): unknown => {
    const [reply] = greedy.send(greedy.event({ method: 'get_balance' }))
    return reply ? (reply.error?.code ?? 'answered') : 'silent'
  }
  const codes = Array.from({ length: 60 }, code)
  expect(codes.slice(0, 20)).toEqual(Array(20).fill('answered'))
  expect(codes).toContain('RATE_LIMITED')
  expect(codes).toContain('silent')
  expect(balanceOf(other)).toBe(10_000)
  service.advance(10_000)
  expect(code()).toBe('answered')
})

test('an invoice without an amount is paid with what the payer names', async () => {
  const service = await begin()
  const [payer, payee] = [await open(service), await open(service, 0)]
  const invoice = invoiceOf(payee, 0)
  expect(payer.ask('pay_invoice', { invoice }).error?.code).toBe('OTHER')
  expect(payer.ask('pay_invoice', { invoice, amount: 700 }).error).toBeNull()
  expect([balanceOf(payer), balanceOf(payee)]).toEqual([9300, 700])
  const { transactions } = payee.ask('list_transactions').result as { transactions: unknown[] }
  expect(transactions).toMatchObject([{ amount: 700, state: 'settled' }])
})

test('routing fees are charged, told, counted, and given back with a cancelled hold', async () => {
  const service = await begin({ feePpm: 10_000 })
  const [payer, payee] = [await open(service), await open(service, 0)]
  expect(payer.ask('pay_invoice', { invoice: invoiceOf(payee, 1050) }).result?.['fees_paid']).toBe(11)
  expect([balanceOf(payer), balanceOf(payee)]).toEqual([10_000 - 1061, 1050])
  const tooMuch = invoiceOf(payee, 10_000 - 1061)
  expect(payer.ask('pay_invoice', { invoice: tooMuch }).error?.code).toBe('INSUFFICIENT_BALANCE')
  const made = payee.ask('make_hold_invoice', { amount: 1000, payment_hash: holdHash })
  payer.send(payer.event({ method: 'pay_invoice', params: { invoice: made.result?.['invoice'] } }))
  expect(balanceOf(payer)).toBe(10_000 - 1061 - 1010)
  payee.ask('cancel_hold_invoice', { payment_hash: holdHash })
  expect(balanceOf(payer)).toBe(10_000 - 1061)
  expect(service.wallet.audit()).toMatchObject({ problems: [], feesMsat: 11 })
})

test('who was revoked may look up its own payments for a week, and sees nothing else of the wallet', async () => {
  const service = await begin()
  const [owner, payee] = [await open(service), await open(service, 0)]
  const allowance = rawClient(service, new Uint8Array(32).fill(7))
  const methods = ['pay_invoice', 'lookup_invoice', 'list_transactions']
  owner.ask('create_connection', { pubkey: allowance.key, name: 'pi', request_methods: methods })
  const hashPaidBy = (client: RawClient): unknown => {
    const made = payee.ask('make_invoice', { amount: 1000 }).result ?? {}
    expect(client.ask('pay_invoice', { invoice: made['invoice'] }).error).toBeNull()
    return made['payment_hash']
  }
  const [own, others] = [hashPaidBy(allowance), hashPaidBy(owner)]
  owner.ask('delete_connection', { pubkey: allowance.key })

  const lookUp = (payment_hash: unknown) => allowance.ask('lookup_invoice', { payment_hash })
  expect(lookUp(own).result).toMatchObject({ state: 'settled', payment_hash: own })
  expect(lookUp(others).error?.code).toBe('NOT_FOUND')
  // Looking back is for what it asks for by hash.
  expect(allowance.ask('list_transactions').error).toMatchObject({
    code: 'UNAUTHORIZED',
    message: expect.stringContaining('revoked') as string,
  })
  service.advance(LOOKS_BACK_MS)
  expect(lookUp(own).error?.code).toBe('UNAUTHORIZED')
})

test('what comes in one turn is one commit: a request that fails leaves the others', async () => {
  const waiting: (() => void)[] = []
  const service = await begin({ schedule: (run) => void waiting.push(run) })
  const [payer, payee] = [await open(service), await open(service, 0)]
  const flush = (): void => waiting.splice(0).forEach((run) => run())
  const make = payee.event({ method: 'make_invoice', params: { amount: 6000 } })
  const made: unknown[] = []
  const answers = [make, payee.event({ method: 'make_invoice', params: { amount: 6000 } })].map((event) => {
    const answer = payee.onReply(event.id)
    expect(payee.send(event)).toEqual([])
    return answer
  })
  flush()
  for (const answer of answers) made.push((await answer).result?.['invoice'])
  const paying = made.map((invoice) => {
    const event = payer.event({ method: 'pay_invoice', params: { invoice } })
    const answer = payer.onReply(event.id)
    payer.send(event)
    return answer
  })
  expect(waiting).toHaveLength(1)
  flush()
  const replies = await Promise.all(paying)
  expect(replies.map(({ error }) => error?.code ?? 'paid')).toEqual(['paid', 'INSUFFICIENT_BALANCE'])
})
