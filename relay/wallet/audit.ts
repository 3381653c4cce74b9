/**
 * Recomputes the wallet from its first line, with its own eyes: this file shares no code with the ledger, only the
 * tables. A movement must sum to zero, a balance must be the sum of its lines, and every lock must be accounted for.
 */
import { DatabaseSync } from 'node:sqlite'

export type AuditReport = Readonly<{
  ok: boolean
  /** What does not add up; at most `MAX_PROBLEMS`, nothing when all is well. */
  problems: readonly string[]
  accounts: number
  movements: number
  grantedMsat: number
  /** Sats of a Lightning node that the accounts have, locked ones included. */
  ofNodeMsat: number
  lockedMsat: number
  feesMsat: number
}>

export const MAX_PROBLEMS = 100

type Line = { account: string; seq: number; movement: number; amount: number; balance: number }
type Account = { id: string; kind: string; balance: number; lines: number }

/** Reads the ledger file at `path` (read-only; it may be in use). */
export function audit(path: string): AuditReport {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
  const problems: string[] = []
  const wrong = (problem: string): void => {
    if (problems.length < MAX_PROBLEMS) problems.push(problem)
  }
  try {
    db.exec('BEGIN')
    const rows = <T>(sql: string): Iterable<T> => db.prepare(sql).iterate() as unknown as Iterable<T>
    const one = (sql: string): number => Number(Object.values(db.prepare(sql).get() ?? {})[0] ?? 0)

    const sums = new Map<string, { balance: number; lines: number }>()
    const perMovement = new Map<number, { sum: number; lines: number }>()
    const kinds = new Map<string, string>()
    for (const { id, kind } of rows<Account>('SELECT id, kind FROM accounts')) kinds.set(id, kind)
    for (const { account, seq, movement, amount, balance } of rows<Line>(
      'SELECT * FROM lines ORDER BY account, seq',
    )) {
      const running = sums.get(account) ?? { balance: 0, lines: 0 }
      running.balance += amount
      running.lines += 1
      sums.set(account, running)
      if (seq !== running.lines) wrong(`account ${account}: line ${running.lines} is numbered ${seq}`)
      if (balance !== running.balance)
        wrong(`account ${account}, line ${seq}: says ${balance}, the lines sum to ${running.balance}`)
      if (running.balance < 0 && !['mint', 'node'].includes(kinds.get(account) ?? ''))
        wrong(`account ${account}, line ${seq}: fell below zero (${running.balance})`)
      const both = perMovement.get(movement) ?? { sum: 0, lines: 0 }
      perMovement.set(movement, { sum: both.sum + amount, lines: both.lines + 1 })
    }
    for (const [id, { sum, lines }] of perMovement)
      if (sum !== 0 || lines < 2 || lines > 3) wrong(`movement ${id}: ${lines} lines that sum to ${sum}`)
    const movements = one('SELECT COUNT(*) FROM movements')
    if (movements !== perMovement.size) wrong(`${movements} movements, but lines of ${perMovement.size}`)

    let accounts = 0
    let total = 0
    for (const { id, balance, lines } of rows<Account>('SELECT * FROM accounts')) {
      accounts++
      total += balance
      const running = sums.get(id) ?? { balance: 0, lines: 0 }
      if (balance !== running.balance)
        wrong(`account ${id}: has ${balance}, its lines sum to ${running.balance}`)
      if (lines !== running.lines) wrong(`account ${id}: counts ${lines} lines, has ${running.lines}`)
      sums.delete(id)
    }
    for (const id of sums.keys()) wrong(`lines of an account that does not exist: ${id}`)
    if (total !== 0) wrong(`all balances sum to ${total} instead of 0`)

    const lockedMsat = one("SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE kind = 'locked'")
    const pending = one("SELECT COALESCE(SUM(amount + fees), 0) FROM payments WHERE state = 'pending'")
    if (lockedMsat !== pending) wrong(`${lockedMsat} msat are locked, pending payments are ${pending}`)
    checkPayments(rows, wrong)
    checkSpends(rows, wrong)
    checkGiven(rows, wrong)
    const feesMsat = one("SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE kind = 'fees'")
    const charged = one("SELECT COALESCE(SUM(fees), 0) FROM payments WHERE state = 'settled'")
    if (feesMsat !== charged) wrong(`${feesMsat} msat of routing fees, settled payments say ${charged}`)
    const grantedMsat = -one("SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE kind = 'mint'")
    const ofNodeMsat = one(
      "SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE kind IN ('person', 'locked')",
    )
    checkMoney(one, wrong)
    const told = { grantedMsat, ofNodeMsat: grantedMsat === 0 ? ofNodeMsat : 0, lockedMsat, feesMsat }
    return { ok: problems.length === 0, problems, accounts, movements, ...told }
  } finally {
    db.close()
  }
}

/**
 * What can be checked at each start, however long the history: the sums, each balance against its account's last line,
 * and the locks. Gives what does not add up.
 */
export function checkSums(path: string): readonly string[] {
  const db = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
  const problems: string[] = []
  try {
    db.exec('BEGIN')
    const one = (sql: string): number => Number(Object.values(db.prepare(sql).get() ?? {})[0] ?? 0)
    const total = one('SELECT COALESCE(SUM(balance), 0) FROM accounts')
    if (total !== 0) problems.push(`all balances sum to ${total} instead of 0`)
    const locked = one("SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE kind = 'locked'")
    const pending = one("SELECT COALESCE(SUM(amount + fees), 0) FROM payments WHERE state = 'pending'")
    if (locked !== pending) problems.push(`${locked} msat are locked, pending payments are ${pending}`)
    const wrong = db
      .prepare(
        `SELECT a.id, a.balance, a.lines, l.balance AS said FROM accounts a
         LEFT JOIN lines l ON l.account = a.id AND l.seq = a.lines
         WHERE a.balance <> COALESCE(l.balance, 0) LIMIT ?`,
      )
      .all(MAX_PROBLEMS)
    for (const row of wrong)
      problems.push(
        `account ${String(row['id'])}: has ${String(row['balance'])}, its last line says ${String(row['said'])}`,
      )
    return problems
  } finally {
    db.close()
  }
}

/** Play sats and sats of a node never stand in one ledger. */
function checkMoney(one: (sql: string) => number, wrong: Wrong): void {
  const granted = one("SELECT COUNT(*) FROM movements WHERE kind = 'grant'")
  const ofNode = one("SELECT COUNT(*) FROM movements WHERE kind IN ('fund', 'receive')")
  if (granted > 0 && ofNode > 0) wrong('play money and the sats of a node stand in one ledger')
}

type Rows = <T>(sql: string) => Iterable<T>
type Wrong = (problem: string) => void

/** Each payment against its invoice, and both against the money that moved in their name. */
function checkPayments(rows: Rows, wrong: Wrong): void {
  const moved = new Map<string, string[]>()
  type Moved = { reference: string; kind: string; account: string; amount: number }
  const inOrder = `SELECT m.reference, m.kind, l.account, l.amount FROM movements m JOIN lines l ON l.movement = m.id
    WHERE m.kind IN ('pay', 'lock', 'settle', 'release', 'receive') ORDER BY m.id, l.amount, l.account`
  for (const { reference, kind, account, amount } of rows<Moved>(inOrder)) {
    const list = moved.get(reference) ?? []
    list.push(`${kind} ${account} ${amount}`)
    moved.set(reference, list)
  }
  type Pair = {
    payment_hash: string
    reference: string
    route: string
    payer: string
    payee: string
    amount: number
    fees: number
    reserve: number
    asked: number
    received: number | null
    paid: string
    state: string
    hold: number
    preimage: string | null
    own_preimage: string | null
  }
  const pairs = `SELECT p.payment_hash, COALESCE(p.reference, p.payment_hash) AS reference, p.route, p.account AS payer,
    i.account AS payee, p.amount, p.fees, p.reserve, i.amount AS asked, i.received, p.state AS paid, i.state, i.hold,
    i.preimage, p.preimage AS own_preimage
    FROM payments p LEFT JOIN invoices i ON i.payment_hash = p.payment_hash AND p.route = 'books'`
  /** What a movement's lines must be: one account gives all, the others get their parts. */
  const legs = (kind: string, from: string, ...to: readonly (readonly [string, number])[]): string[] =>
    [[from, -to.reduce((sum, [, amount]) => sum + amount, 0)] as const, ...to]
      .filter(([, amount]) => amount !== 0)
      .toSorted(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
      .map(([account, amount]) => `${kind} ${account} ${amount}`)
  /** Over the node: locked with the reserve, then out with the fee, or back. */
  const outgoing = ({ payer, amount, fees, reserve, paid }: Pair): string[] => {
    const steps = legs('lock', payer, ['locked', amount + reserve])
    if (paid === 'pending') return steps
    if (paid === 'settled') steps.push(...legs('settle', 'locked', ['node', amount], ['fees', fees]))
    const back = paid === 'settled' ? reserve - fees : amount + reserve
    return back === 0 ? steps : [...steps, ...legs('release', 'locked', [payer, back])]
  }
  const inTheBooks = ({ payer, payee, amount, fees, paid, hold }: Pair): string[] => {
    const steps = hold ? legs('lock', payer, ['locked', amount + fees]) : []
    if (paid === 'settled')
      steps.push(...legs(hold ? 'settle' : 'pay', hold ? 'locked' : payer, [payee, amount], ['fees', fees]))
    if (paid === 'returned') steps.push(...legs('release', 'locked', [payer, amount + fees]))
    return steps
  }
  for (const pair of rows<Pair>(pairs)) {
    const { payment_hash: hash, reference, route, amount, asked, paid, state } = pair
    if (route === 'books') {
      const expected = { pending: 'accepted', settled: 'settled', returned: 'cancelled' }[paid]
      if (state !== expected) wrong(`payment ${hash} is ${paid}, its invoice ${state}`)
      if ((asked !== 0 && amount !== asked) || amount !== pair.received)
        wrong(`payment ${hash}: ${amount} paid for an invoice of ${asked} that received ${pair.received}`)
      if (state === 'settled' && !pair.preimage) wrong(`invoice ${hash} settled without a preimage`)
    } else if (paid === 'settled' && !pair.own_preimage) wrong(`payment ${hash} settled without a preimage`)
    const steps = route === 'books' ? inTheBooks(pair) : outgoing(pair)
    const found = moved.get(reference) ?? []
    if (found.join() !== steps.join()) wrong(`payment ${hash}: moved [${found}] instead of [${steps}]`)
    moved.delete(reference)
  }
  type Received = { payment_hash: string; account: string; amount: number; received: number | null }
  const fromOutside = `SELECT i.payment_hash, i.account, i.amount, i.received FROM invoices i WHERE i.state = 'settled'
    AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.payment_hash = i.payment_hash AND p.route = 'books')`
  for (const { payment_hash: hash, account, amount, received } of rows<Received>(fromOutside)) {
    if (received === null || received < amount) wrong(`invoice ${hash} of ${amount} settled with ${received}`)
    const steps = legs('receive', 'node', [account, received ?? 0])
    const found = moved.get(hash) ?? []
    if (found.join() !== steps.join()) wrong(`invoice ${hash}: received [${found}] instead of [${steps}]`)
    moved.delete(hash)
  }
  for (const hash of moved.keys()) wrong(`money moved for a payment that does not exist: ${hash}`)
}

/** Each connection's budget against what was counted on it. */
function checkSpends(rows: Rows, wrong: Wrong): void {
  type Spend = { client: string; seq: number; amount: number; period_start: number; used: number }
  const used = new Map<string, { period: number; used: number; seq: number }>()
  for (const spend of rows<Spend>('SELECT * FROM spends ORDER BY client, seq')) {
    const before = used.get(spend.client) ?? { period: spend.period_start, used: 0, seq: 0 }
    const base = before.period === spend.period_start ? before.used : 0
    const after = { period: spend.period_start, used: base + spend.amount, seq: before.seq + 1 }
    if (spend.seq !== after.seq)
      wrong(`budget of ${spend.client}: line ${after.seq} is numbered ${spend.seq}`)
    if (spend.used !== after.used) wrong(`budget of ${spend.client}, line ${spend.seq}: says ${spend.used}`)
    used.set(spend.client, after)
  }
  type Connection = {
    client: string
    budget: number | null
    used: number
    period_start: number
    spends: number
  }
  for (const connection of rows<Connection>('SELECT * FROM connections')) {
    const { client } = connection
    const last = used.get(client)
    const expected = last && last.period === connection.period_start ? last.used : 0
    if (connection.used !== expected)
      wrong(`connection ${client}: used ${connection.used}, lines say ${expected}`)
    if (connection.spends !== (last?.seq ?? 0))
      wrong(`connection ${client}: counts ${connection.spends} spends`)
  }
}

/** What isolated connections were given against what moved; closed accounts keep nothing. */
function checkGiven(rows: Rows, wrong: Wrong): void {
  type Given = { client: string; given: number; moved: number }
  const given = `SELECT c.client, c.given, (SELECT COALESCE(SUM(l.amount), 0) FROM movements m JOIN lines l ON l.movement = m.id
      WHERE m.reference = c.account AND m.kind IN ('isolate', 'return') AND l.account = c.account) AS moved
    FROM connections c WHERE c.isolated = 1 AND c.parent IS NOT NULL`
  for (const { client, given: said, moved } of rows<Given>(given))
    if (said !== moved) wrong(`connection ${client}: given ${said}, its movements say ${moved}`)
  for (const { id, balance } of rows<Account>('SELECT id, balance FROM accounts WHERE closed = 1'))
    if (balance !== 0) wrong(`account ${id} is closed and still has ${balance}`)
}
