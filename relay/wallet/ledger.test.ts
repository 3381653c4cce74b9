import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, describe, expect, test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
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
  const clientKey = (n: number): string => publicKey(new Uint8Array(32).fill(n + 1))
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
      const done = ledger.db.transaction(() => execute(context, connection, { method, params }, at))
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
    budget: (client: string): { left: number; used: number } => {
      const connection = connections.find(client)
      const budget = connection && connections.budget(connection, at)
      return budget
        ? { left: budget.totalMsat - budget.usedMsat, used: budget.usedMsat }
        : { left: 0, used: 0 }
    },
  }
}

/** A grant of 1000 to c0, an isolated c1 with 300 of it, and 100 paid by c0 to c1, as the first format wrote it. */
const FIRST_FORMAT = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE accounts (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, parent TEXT,
  balance BIGINT NOT NULL, lines BIGINT NOT NULL, created_at BIGINT NOT NULL, CHECK (balance >= 0 OR kind = 'mint'));
CREATE TABLE movements (id BIGINT PRIMARY KEY, kind TEXT NOT NULL, reference TEXT NOT NULL, at BIGINT NOT NULL);
CREATE TABLE lines (
  account TEXT NOT NULL, seq BIGINT NOT NULL, movement BIGINT NOT NULL, amount BIGINT NOT NULL,
  balance BIGINT NOT NULL, PRIMARY KEY (account, seq));
CREATE TABLE connections (
  client TEXT PRIMARY KEY, account TEXT NOT NULL, parent TEXT, isolated BIGINT NOT NULL, name TEXT NOT NULL,
  methods TEXT NOT NULL, budget BIGINT, renewal TEXT NOT NULL, used BIGINT NOT NULL, period_start BIGINT NOT NULL,
  spends BIGINT NOT NULL, expires_at BIGINT, encryption TEXT, request TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE TABLE spends (
  client TEXT NOT NULL, seq BIGINT NOT NULL, reference TEXT NOT NULL, amount BIGINT NOT NULL,
  period_start BIGINT NOT NULL, used BIGINT NOT NULL, PRIMARY KEY (client, seq));
CREATE TABLE invoices (
  payment_hash TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT NOT NULL, bolt11 TEXT NOT NULL, amount BIGINT NOT NULL,
  description TEXT NOT NULL, description_hash TEXT, preimage TEXT, hold BIGINT NOT NULL, state TEXT NOT NULL,
  created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT, settle_by BIGINT);
CREATE TABLE payments (
  payment_hash TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT NOT NULL, amount BIGINT NOT NULL,
  fees BIGINT NOT NULL, state TEXT NOT NULL, created_at BIGINT NOT NULL, settled_at BIGINT);
CREATE TABLE requests (
  id TEXT PRIMARY KEY, client TEXT NOT NULL, method TEXT NOT NULL, encryption TEXT NOT NULL,
  payment_hash TEXT, response TEXT, at BIGINT NOT NULL);
INSERT INTO meta VALUES ('schema', '1');
INSERT INTO accounts VALUES ('mint', 'mint', '', NULL, -1000, 1, 0), ('locked', 'locked', '', NULL, 0, 0, 0),
  ('p0', 'person', '', NULL, 600, 3, 0), ('p1', 'person', '', 'p0', 400, 2, 0);
INSERT INTO movements VALUES (1, 'grant', 'p0', 0), (2, 'isolate', 'p1', 0), (3, 'pay', 'h', 0);
INSERT INTO lines VALUES ('mint', 1, 1, -1000, -1000), ('p0', 1, 1, 1000, 1000), ('p0', 2, 2, -300, 700),
  ('p1', 1, 2, 300, 300), ('p0', 3, 3, -100, 600), ('p1', 2, 3, 100, 400);
INSERT INTO connections VALUES ('c0', 'p0', NULL, 1, '', 'pay_invoice create_connection', NULL, 'never', 400, 0, 2, NULL, NULL, '', 0),
  ('c1', 'p1', 'c0', 1, '', 'get_info create_connection', NULL, 'never', 0, 0, 0, NULL, NULL, '', 0);
INSERT INTO spends VALUES ('c0', 1, 'p1', 300, 0, 300), ('c0', 2, 'h', 100, 0, 400);
INSERT INTO invoices VALUES ('h', 'p1', 'c1', 'lnbcrt1', 100, '', NULL, 'ff', 0, 'settled', 0, 9, 1, NULL);
INSERT INTO payments VALUES ('h', 'p0', 'c0', 100, 0, 'settled', 1, 1);`

const preimageOf = (n: number): string => n.toString(16).padStart(64, '0')

type Op =
  | { tag: 'invoice'; who: number; amount: number; hold: boolean }
  | { tag: 'pay'; who: number; which: number }
  | { tag: 'settle' | 'cancel'; which: number }
  | { tag: 'cut'; who: number; limit: number; isolated: boolean; renewal: 'never' | 'daily' }
  | { tag: 'change'; who: number; whom: number; limit: number; paused: boolean }
  | { tag: 'renew'; who: number; whom: number; renewal: 'never' | 'hourly' | 'daily' }
  | { tag: 'revoke'; who: number; whom: number }
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
    weight: 2,
    arbitrary: fc.record({
      tag: fc.constant('change' as const),
      who,
      whom: who,
      limit: fc.nat(9),
      paused: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      tag: fc.constant('renew' as const),
      who,
      whom: who,
      renewal: fc.constantFrom('never' as const, 'hourly' as const, 'daily' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ tag: fc.constant('revoke' as const), who, whom: who }) },
  {
    weight: 1,
    arbitrary: fc.record({ tag: fc.constant('wait' as const), ms: fc.constantFrom(1000, 60_000, 4_000_000) }),
  },
)

describe('the ledger', () => {
  test('whatever is asked in whatever order: sums are kept, nothing falls below zero, the audit agrees', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(
        fc.array(anyOp, { minLength: 10, maxLength: 40 }),
        fc.constantFrom(0, 300_000),
        (ops, fee) => {
          const { path, ledger, clients, clientKey, open, ask, advance, sweep, budget } = bench(fee)
          const used = new Map<string, number>()
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
            } else if (op.tag === 'change' || op.tag === 'renew') {
              const pubkey = clients[op.whom % clients.length]
              const { limit, paused } = { limit: undefined, paused: undefined, ...op }
              const budget_renewal = op.tag === 'renew' ? op.renewal : undefined
              if (ask(client, 'update_connection', { pubkey, max_amount: limit, paused, budget_renewal }))
                seen.add('changed')
            } else if (op.tag === 'revoke') {
              if (ask(client, 'delete_connection', { pubkey: clients[op.whom % clients.length] }))
                seen.add('revoked')
            } else if (op.tag === 'wait') {
              advance(op.ms)
              if (sweep().decided.length > 0) seen.add('returned')
            }
            const sum = ledger.db.get('SELECT SUM(balance) AS sum FROM accounts')
            expect(sum?.['sum']).toBe(0)
            expect(
              ledger.db.get("SELECT COUNT(*) AS n FROM accounts WHERE balance < 0 AND kind <> 'mint'")?.['n'],
            ).toBe(0)
            // A limit may be set below what is used; nothing is spent beyond it.
            for (const one of clients) {
              const now = budget(one)
              if (now.used > (used.get(one) ?? 0) && op.tag !== 'renew')
                expect(now.left).toBeGreaterThanOrEqual(0)
              used.set(one, now.used)
            }
          }
          expect(audit(path).problems).toEqual([])
          advance(100_000)
          sweep()
          const settled = audit(path)
          expect(settled).toMatchObject({ ok: true, lockedMsat: 0, grantedMsat: 32 })
          ledger.close()
        },
      ),
      { numRuns: 60 },
    )
    expect([...seen].toSorted()).toEqual([
      'cancelled',
      'changed',
      'locked',
      'paid',
      'refused',
      'returned',
      'revoked',
      'settled',
    ])
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

  test('a ledger of the first format is brought up to date and adds up', () => {
    const path = join(root, `${++files}.sqlite`)
    const old = new DatabaseSync(path)
    old.exec(FIRST_FORMAT)
    old.close()
    const ledger = openLedger(path)
    const child = createConnections(ledger).find('c1')
    expect(child).toMatchObject({ givenMsat: 300, isolated: true, paused: false, source: 'c0' })
    expect([...(child?.methods ?? [])]).toContain('update_connection')
    ledger.close()
    expect(audit(path)).toMatchObject({ problems: [], movements: 3, feesMsat: 0 })
    openLedger(path).close()
  })

  test('a ledger in a newer format is refused with words and not touched', () => {
    const { ledger, path } = bench()
    ledger.db.run("UPDATE meta SET value = '99'")
    ledger.close()
    expect(() => openLedger(path)).toThrow(/format 99, this program reads 3/)
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
    ['a fee that nobody got', "UPDATE payments SET fees = 7 WHERE state = 'settled'", /of routing fees/],
    ['a gift that did not move', 'UPDATE connections SET given = given + 1', /its movements say/],
    ['money on a closed account', 'UPDATE accounts SET closed = 1 WHERE balance > 0', /still has/],
  ]
  test.each(tamperings)('finds %s', (_, sql, says) => {
    const { path, ledger, open, ask } = bench()
    const [payer, payee] = [open(100), open(0)]
    for (let i = 1; i <= 2; i++)
      ask(payer, 'pay_invoice', { invoice: ask(payee, 'make_invoice', { amount: i })?.['invoice'] })
    const payment_hash = sha256Hex(fromHex(preimageOf(1)))
    const held = ask(payee, 'make_hold_invoice', { amount: 10, payment_hash })
    expect(ask(payer, 'pay_invoice', { invoice: held?.['invoice'] })).toEqual({ waiting: true })
    ask(payer, 'create_connection', {
      ...{
        pubkey: 'ee'.repeat(32),
        name: 'cut',
        request_methods: ['pay_invoice'],
        max_amount: 5,
        isolated: true,
      },
    })
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
