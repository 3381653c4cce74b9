import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, describe, expect, test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { METHODS, Nip47Refusal, type Method } from '../../web/core/wallet/nip47.ts'
import { audit } from './audit.ts'
import { sandboxBackend } from './backend.ts'
import { createConnections } from './connections.ts'
import { MINT, openLedger } from './ledger.ts'
import { createManaging } from './managing.ts'
import { execute, type MethodContext } from './methods.ts'
import { createPayments } from './payments.ts'

const root = mkdtempSync(join(tmpdir(), 'satpatch-ledger-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let files = 0

/** The wallet without Nostr, on a clock of its own. */
function bench(feePpm = 0) {
  const path = join(root, `${++files}.sqlite`)
  const ledger = openLedger(path)
  ledger.db.run('PRAGMA synchronous = OFF')
  const connections = createConnections(ledger)
  const backend = sandboxBackend({ money: 'sandbox:test', nodeSecret: new Uint8Array(32).fill(1), feePpm })
  const managing = createManaging({ ledger, connections, feePpm })
  const payments = createPayments({ ledger, connections, backend, holdLimitMs: 50_000 })
  const context: MethodContext = {
    ...{ ledger, connections, managing, payments, backend },
    ...{ walletPubkey: 'aa'.repeat(32), relays: () => [] },
  }
  let at = Date.UTC(2026, 0, 15, 23, 59)
  const clients: string[] = []
  const clientKey = (n: number): string => (n + 1).toString(16).padStart(64, '0')
  const open = (grantMsat: number): string => {
    const client = clientKey(clients.length)
    ledger.db.transaction(() => {
      ledger.openAccount({ id: `person:${client}`, name: client, at })
      connections.open({ client, account: `person:${client}`, name: client, at })
      if (grantMsat > 0)
        ledger.move({
          kind: 'grant',
          reference: client,
          from: MINT,
          to: `person:${client}`,
          amount: grantMsat,
          at,
        })
    })
    clients.push(client)
    return client
  }
  /** Undefined when refused; anything but a refusal fails the test. */
  const ask = (
    client: string,
    method: Method,
    params: Record<string, unknown>,
  ): Record<string, unknown> | undefined => {
    const connection = connections.find(client)
    if (!connection) throw new Error('no such client')
    try {
      const done = ledger.db.transaction(() => execute(context, connection, method, params, at))
      return done.answer.tag === 'result'
        ? (done.answer.result as Record<string, unknown>)
        : { waiting: true }
    } catch (error) {
      if (error instanceof Nip47Refusal) return undefined
      throw error
    }
  }
  return {
    ...{ path, ledger, connections, payments, clients, clientKey, open, ask },
    advance: (ms: number) => void (at += ms),
    sweep: () => ledger.db.transaction(() => payments.returnOverdue(at, 1000)),
    budgetLeft: (client: string): number => {
      const connection = connections.find(client)
      const budget = connection && connections.budget(connection, at)
      return budget ? budget.totalMsat - budget.usedMsat : 0
    },
  }
}

const preimageOf = (n: number): string => n.toString(16).padStart(64, '0')

type Op =
  | { tag: 'invoice'; who: number; amount: number; hold: boolean }
  | { tag: 'pay'; who: number; which: number }
  | { tag: 'settle' | 'cancel'; which: number }
  | { tag: 'cut'; who: number; limit: number; isolated: boolean; renewal: 'never' | 'daily' }
  | { tag: 'wait'; ms: number }

const who = fc.nat(5)
const anyOp: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      tag: fc.constant('invoice' as const),
      who,
      amount: fc.integer({ min: 1, max: 9 }),
      hold: fc.boolean(),
    }),
  },
  { weight: 6, arbitrary: fc.record({ tag: fc.constant('pay' as const), who, which: fc.nat(9) }) },
  {
    weight: 3,
    arbitrary: fc.record({ tag: fc.constantFrom('settle' as const, 'cancel' as const), which: fc.nat(9) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      tag: fc.constant('cut' as const),
      who,
      limit: fc.nat(9),
      isolated: fc.boolean(),
      renewal: fc.constantFrom('never' as const, 'daily' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ tag: fc.constant('wait' as const), ms: fc.constantFrom(1000, 60_000, 4_000_000) }),
  },
)

describe('the ledger', () => {
  test('whatever is asked in whatever order: sums are kept, nothing falls below zero, the audit agrees', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(fc.array(anyOp, { minLength: 10, maxLength: 40 }), (ops) => {
        const { path, ledger, clients, clientKey, open, ask, advance, sweep, budgetLeft } = bench()
        for (const grant of [0, 12, 20]) open(grant)
        const made: { client: string; invoice: string; secret: string }[] = []
        for (const op of ops) {
          const client = 'who' in op ? (clients[op.who % clients.length] ?? '') : ''
          const target = 'which' in op && made.length > 0 ? made[op.which % made.length] : undefined
          if (op.tag === 'invoice') {
            const secret = preimageOf(made.length + 1)
            const payment_hash = sha256Hex(fromHex(secret))
            const params = op.hold
              ? { amount: op.amount, payment_hash }
              : { amount: op.amount, preimage: secret }
            const answer = ask(client, op.hold ? 'make_hold_invoice' : 'make_invoice', {
              ...params,
              expiry: 3600,
            })
            made.push({ client, invoice: String(answer?.['invoice']), secret })
          } else if (op.tag === 'pay' && target) {
            const answer = ask(client, 'pay_invoice', { invoice: target.invoice })
            seen.add(answer ? ('waiting' in answer ? 'locked' : 'paid') : 'refused')
          } else if (op.tag === 'settle' && target) {
            if (ask(target.client, 'settle_hold_invoice', { preimage: target.secret })) seen.add('settled')
          } else if (op.tag === 'cancel' && target) {
            if (
              ask(target.client, 'cancel_hold_invoice', { payment_hash: sha256Hex(fromHex(target.secret)) })
            )
              seen.add('cancelled')
          } else if (op.tag === 'cut') {
            const pubkey = clientKey(clients.length)
            const params = {
              pubkey,
              name: 'cut',
              request_methods: METHODS,
              max_amount: op.limit,
              isolated: op.isolated,
            }
            if (ask(client, 'create_connection', { ...params, budget_renewal: op.renewal }))
              clients.push(pubkey)
          } else if (op.tag === 'wait') {
            advance(op.ms)
            if (sweep().decided.length > 0) seen.add('returned')
          }
          const sum = ledger.db.get('SELECT SUM(balance) AS sum FROM accounts')
          expect(sum?.['sum']).toBe(0)
          expect(
            ledger.db.get("SELECT COUNT(*) AS n FROM accounts WHERE balance < 0 AND kind <> 'mint'")?.['n'],
          ).toBe(0)
          for (const one of clients) expect(budgetLeft(one)).toBeGreaterThanOrEqual(0)
        }
        expect(audit(path).problems).toEqual([])
        advance(100_000)
        sweep()
        const settled = audit(path)
        expect(settled).toMatchObject({ ok: true, lockedMsat: 0, grantedMsat: 32 })
        ledger.close()
      }),
      { numRuns: 40 },
    )
    expect([...seen].toSorted()).toEqual(['cancelled', 'locked', 'paid', 'refused', 'returned', 'settled'])
  }, 60_000)

  test('a movement that cannot be made leaves nothing behind', () => {
    const { ledger, open, path } = bench()
    const account = `person:${open(5)}`
    const move = (amount: number, to: string) => () =>
      ledger.move({ kind: 'pay', reference: 'x', from: account, to, amount, at: 0 })
    expect(move(6, 'locked')).toThrow(Nip47Refusal)
    expect(move(1, 'nobody')).toThrow('no account')
    for (const amount of [0, -1, 0.5, NaN]) expect(move(amount, 'locked')).toThrow('not an amount')
    expect(ledger.balance(account)).toBe(5)
    expect(audit(path)).toMatchObject({ ok: true, movements: 1 })
  })

  test('a ledger in a newer format is refused with words and not touched', () => {
    const { ledger, path } = bench()
    ledger.db.run("UPDATE meta SET value = '99'")
    ledger.close()
    expect(() => openLedger(path)).toThrow(/format 99, this program reads 2/)
  })
})

describe('the audit', () => {
  const tamperings: [name: string, sql: string, says: RegExp][] = [
    [
      'a changed balance',
      "UPDATE accounts SET balance = balance + 1 WHERE kind = 'person' AND balance > 0",
      /its lines sum/,
    ],
    ['a changed line', 'UPDATE lines SET amount = amount + 1 WHERE seq = 1', /sum to/],
    ['a changed running balance', 'UPDATE lines SET balance = balance + 1', /the lines sum to/],
    ['a lost line', "DELETE FROM lines WHERE account = 'locked' AND seq = 1", /1 lines|numbered/],
    ['a lost movement', 'DELETE FROM movements WHERE id = 1', /movements, but lines of/],
    [
      'a lock without a payment',
      "UPDATE payments SET state = 'returned' WHERE state = 'pending'",
      /are locked/,
    ],
    ['a payment without its money', "UPDATE movements SET reference = 'x' WHERE kind = 'pay'", /moved/],
    [
      'a settled invoice without a secret',
      "UPDATE invoices SET preimage = NULL WHERE state = 'settled'",
      /without a preimage/,
    ],
    ['another amount', 'UPDATE payments SET amount = amount + 1', /paid for an invoice/],
    ['a budget counted down', 'UPDATE connections SET used = 0', /used 0, lines say/],
    ['a spend forgotten', 'DELETE FROM spends WHERE seq = 1', /numbered/],
  ]
  test.each(tamperings)('finds %s', (_, sql, says) => {
    const { path, ledger, open, ask } = bench()
    const [payer, payee] = [open(100), open(0)]
    for (let i = 1; i <= 2; i++)
      ask(payer, 'pay_invoice', { invoice: ask(payee, 'make_invoice', { amount: i })?.['invoice'] })
    const payment_hash = sha256Hex(fromHex(preimageOf(1)))
    const held = ask(payee, 'make_hold_invoice', { amount: 10, payment_hash })
    expect(ask(payer, 'pay_invoice', { invoice: held?.['invoice'] })).toEqual({ waiting: true })
    ledger.close()
    expect(audit(path)).toMatchObject({ ok: true, lockedMsat: 10 })
    const db = new DatabaseSync(path)
    db.exec(sql)
    db.close()
    const report = audit(path)
    expect(report.ok).toBe(false)
    expect(report.problems.join('\n')).toMatch(says)
  })
})
