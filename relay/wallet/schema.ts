/**
 * The wallet's tables. SQLite and PostgreSQL both take this text. Amounts are msat, times Unix milliseconds.
 * Balances, sequence numbers and `used` are running values, written with the line that changes them.
 */
export const SCHEMA_VERSION = 3

const ACCOUNTS = `CREATE TABLE IF NOT EXISTS accounts (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, parent TEXT,
  balance BIGINT NOT NULL, lines BIGINT NOT NULL, created_at BIGINT NOT NULL, closed BIGINT NOT NULL DEFAULT 0,
  CHECK (balance >= 0 OR kind = 'mint' OR kind = 'node'));`

export const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);

-- kind: person | mint (where play money comes from: negative by design) | locked (what unsettled holds hold)
-- | fees (routing fees) | node (what is the Lightning node's: minus what the accounts have of it),
-- closed: what comes in goes on to the parent
${ACCOUNTS}

-- kind: grant | fund | isolate | return | pay | lock | settle | release | receive, reference: payment or account
CREATE TABLE IF NOT EXISTS movements (
  id BIGINT PRIMARY KEY, kind TEXT NOT NULL, reference TEXT NOT NULL, at BIGINT NOT NULL);

CREATE INDEX IF NOT EXISTS movements_given ON movements (reference) WHERE kind IN ('isolate', 'return');

CREATE TABLE IF NOT EXISTS lines (
  account TEXT NOT NULL, seq BIGINT NOT NULL, movement BIGINT NOT NULL, amount BIGINT NOT NULL,
  balance BIGINT NOT NULL, PRIMARY KEY (account, seq));

CREATE TABLE IF NOT EXISTS connections (
  client TEXT PRIMARY KEY, account TEXT NOT NULL, parent TEXT, isolated BIGINT NOT NULL, name TEXT NOT NULL,
  methods TEXT NOT NULL, budget BIGINT, renewal TEXT NOT NULL, used BIGINT NOT NULL, period_start BIGINT NOT NULL,
  spends BIGINT NOT NULL, expires_at BIGINT, encryption TEXT, request TEXT NOT NULL, created_at BIGINT NOT NULL,
  given BIGINT NOT NULL DEFAULT 0, paused BIGINT NOT NULL DEFAULT 0, revoked_at BIGINT);
CREATE INDEX IF NOT EXISTS connections_parent ON connections (parent);

-- what counted against a connection's budget, negative when a locked payment came back
CREATE TABLE IF NOT EXISTS spends (
  client TEXT NOT NULL, seq BIGINT NOT NULL, reference TEXT NOT NULL, amount BIGINT NOT NULL,
  period_start BIGINT NOT NULL, used BIGINT NOT NULL, PRIMARY KEY (client, seq));

-- state: open | accepted | settled | cancelled, amount 0: the payer chooses, received says what was locked or paid,
-- node: 1 while the Lightning node may still take a payment of it, 2 when it no longer will, 0 where it never had it
CREATE TABLE IF NOT EXISTS invoices (
  payment_hash TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT NOT NULL, bolt11 TEXT NOT NULL, amount BIGINT NOT NULL,
  description TEXT NOT NULL, description_hash TEXT, preimage TEXT, hold BIGINT NOT NULL, state TEXT NOT NULL,
  created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, settled_at BIGINT, settle_by BIGINT, received BIGINT,
  node BIGINT NOT NULL DEFAULT 0, metadata TEXT);
CREATE INDEX IF NOT EXISTS invoices_account ON invoices (account, created_at);
CREATE INDEX IF NOT EXISTS invoices_client ON invoices (client, created_at);
CREATE INDEX IF NOT EXISTS invoices_settled ON invoices (account, created_at) WHERE state = 'settled';
CREATE INDEX IF NOT EXISTS invoices_held ON invoices (settle_by) WHERE state = 'accepted';
CREATE INDEX IF NOT EXISTS invoices_at_node ON invoices (expires_at) WHERE node = 1;

-- state: pending | settled | returned, fees: charged on top of the amount, while pending: what is locked for them
-- Through the Lightning node (route = 'node', else 'books'): what was locked for fees is reserve, the
-- payment's movements bear its reference, and one that failed and is tried again goes on as HASH/1, HASH/2, ...
CREATE TABLE IF NOT EXISTS payments (
  payment_hash TEXT PRIMARY KEY, account TEXT NOT NULL, client TEXT NOT NULL, amount BIGINT NOT NULL,
  fees BIGINT NOT NULL, state TEXT NOT NULL, created_at BIGINT NOT NULL, settled_at BIGINT,
  route TEXT NOT NULL DEFAULT 'books', reserve BIGINT NOT NULL DEFAULT 0, reference TEXT, target TEXT, description TEXT,
  expires_at BIGINT, preimage TEXT, why TEXT, metadata TEXT);
CREATE INDEX IF NOT EXISTS payments_account ON payments (account, created_at);
CREATE INDEX IF NOT EXISTS payments_client ON payments (client, created_at);
CREATE INDEX IF NOT EXISTS payments_settled ON payments (account, created_at) WHERE state = 'settled';
CREATE INDEX IF NOT EXISTS payments_pending ON payments (account) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS payments_in_flight ON payments (created_at) WHERE state = 'pending' AND route = 'node';

-- requests that changed something, each executed once, response is null while a hold decides
CREATE TABLE IF NOT EXISTS requests (
  id TEXT PRIMARY KEY, client TEXT NOT NULL, method TEXT NOT NULL, encryption TEXT NOT NULL,
  payment_hash TEXT, response TEXT, at BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_at ON requests (at);
CREATE INDEX IF NOT EXISTS requests_waiting ON requests (payment_hash) WHERE response IS NULL;
`

/** From each version to the next; then `SCHEMA` adds what is new as a whole. */
export const MIGRATIONS: Readonly<Record<number, readonly string[]>> = {
  1: [
    'ALTER TABLE accounts ADD COLUMN closed BIGINT NOT NULL DEFAULT 0',
    'ALTER TABLE connections ADD COLUMN given BIGINT NOT NULL DEFAULT 0',
    'ALTER TABLE connections ADD COLUMN paused BIGINT NOT NULL DEFAULT 0',
    'ALTER TABLE connections ADD COLUMN revoked_at BIGINT',
    'ALTER TABLE invoices ADD COLUMN received BIGINT',
    "UPDATE invoices SET received = amount WHERE state IN ('accepted', 'settled')",
    `UPDATE connections SET methods = methods || ' list_connections update_connection delete_connection'
     WHERE methods LIKE '%create_connection%'`,
    `UPDATE connections SET given = (SELECT COALESCE(SUM(amount), 0) FROM lines JOIN movements ON movements.id = movement
       WHERE kind = 'isolate' AND lines.account = connections.account AND amount > 0)
     WHERE isolated = 1 AND parent IS NOT NULL`,
  ],
  // A check cannot be changed, so the table is made anew.
  2: [
    'ALTER TABLE accounts RENAME TO accounts_2',
    ACCOUNTS,
    `INSERT INTO accounts (id, kind, name, parent, balance, lines, created_at, closed)
     SELECT id, kind, name, parent, balance, lines, created_at, closed FROM accounts_2`,
    'DROP TABLE accounts_2',
    'ALTER TABLE invoices ADD COLUMN node BIGINT NOT NULL DEFAULT 0',
    'ALTER TABLE invoices ADD COLUMN metadata TEXT',
    "ALTER TABLE payments ADD COLUMN route TEXT NOT NULL DEFAULT 'books'",
    'ALTER TABLE payments ADD COLUMN reserve BIGINT NOT NULL DEFAULT 0',
    ...['reference', 'target', 'description', 'preimage', 'why', 'metadata'].map(
      (column) => `ALTER TABLE payments ADD COLUMN ${column} TEXT`,
    ),
    'ALTER TABLE payments ADD COLUMN expires_at BIGINT',
  ],
}
