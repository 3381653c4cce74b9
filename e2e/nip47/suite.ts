/** The suite's frame: checks by method, each passed, lacking or wrong, and a purse that never spends more than it may. */
import { decode } from 'bolt11'
import { createHash } from 'node:crypto'
import { must, Wrong, type Client, type Fields, type Info, type Reply } from './client.ts'

export type Verdict = 'passes' | 'lacks' | 'wrong'
export type Row = Readonly<{ method: string; check: string; verdict: Verdict; why?: string }>

/** Msat of each payment: a real node takes no less than a sat. */
export const SAT = 1000
export const MOST_MSAT = 100 * SAT

export interface Context {
  readonly payer: Client
  readonly payee: Client
  readonly payerInfo: Info
  readonly payeeInfo: Info
  readonly payerUri: string
  readonly payeeUri: string
  /** An invoice of the payee over one sat. */
  invoice(params?: object): Promise<Fields>
  /** Pays from the purse. @throws Wrong when refused, Error before more than 100 sats would be spent */
  pay(invoice: unknown, from?: Client): Promise<Fields>
  /** Reserves what a payment made otherwise will cost. */
  spend(msat: number): void
}

export type Check = Readonly<{
  method: string
  check: string
  /** Methods that must be advertised, else the wallet lacks it; `payer: ` or `payee: ` says by whom. */
  needs: readonly string[]
  run(context: Context): Promise<void>
}>

export class Lacks extends Error {
  override readonly name = 'Lacks'
}

export const sha256 = (hex: unknown): string =>
  createHash('sha256')
    .update(Buffer.from(String(hex), 'hex'))
    .digest('hex')

export const isHex32 = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
export const isAmount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0

export type ReadInvoice = { paymentHash: string; amount: number | undefined; expiresAt: number; tags: Fields }

/** As the `bolt11` package reads it. */
export function readInvoice(text: unknown): ReadInvoice {
  must(typeof text === 'string' && text.startsWith('ln'), 'there is no BOLT 11 invoice')
  // The package knows the networks by their segwit prefix; for regtest it has to be told.
  const network = text.startsWith('lnbcrt')
    ? { bech32: 'bcrt', pubKeyHash: 0x6f, scriptHash: 0xc4, validWitnessVersions: [0, 1] }
    : undefined
  const read = decode(text, network)
  const tags = Object.fromEntries(read.tags.map(({ tagName, data }) => [tagName, data]))
  const { millisatoshis, timeExpireDate = 0 } = read
  return {
    paymentHash: typeof tags['payment_hash'] === 'string' ? tags['payment_hash'] : '',
    amount: millisatoshis === null || millisatoshis === undefined ? undefined : Number(millisatoshis),
    expiresAt: timeExpireDate,
    tags,
  }
}

/** What the standard says of every transaction object. */
export function checkTransaction(one: Fields, type: 'incoming' | 'outgoing'): void {
  must(one['type'] === type, `type is ${String(one['type'])}, not ${type}`)
  must(isHex32(one['payment_hash']), 'payment_hash is not 64 hex digits')
  must(isAmount(one['amount']), 'amount is not a whole number of msat')
  must(isAmount(one['fees_paid'] ?? 0), 'fees_paid is not a whole number of msat')
  must(isAmount(one['created_at']), 'created_at is not a time')
  for (const name of ['expires_at', 'settled_at'])
    must(one[name] === undefined || one[name] === null || isAmount(one[name]), `${name} is not a time`)
}

/** Runs every check, one after the other; nothing is thrown. */
export async function runChecks(
  checks: readonly Check[],
  context: Context,
  onRow: (row: Row) => void = () => undefined,
): Promise<Row[]> {
  const rows: Row[] = []
  for (const { method, check, needs, run } of checks) {
    const row = await verdictOf(needs, context, run)
    const full = { method, check, ...row }
    rows.push(full)
    onRow(full)
  }
  return rows
}

async function verdictOf(
  needs: readonly string[],
  context: Context,
  run: Check['run'],
): Promise<{ verdict: Verdict; why?: string }> {
  const missing = needs.filter((need) => {
    const [who, method] = need.split(': ')
    return !(who === 'payer' ? context.payerInfo : context.payeeInfo).methods.includes(method ?? '')
  })
  if (missing.length > 0) return { verdict: 'lacks', why: `not advertised: ${missing.join(', ')}` }
  try {
    await run(context)
    return { verdict: 'passes' }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return { verdict: error instanceof Lacks ? 'lacks' : 'wrong', why }
  }
}

export async function makeContext(clients: {
  payer: Client
  payee: Client
  payerUri: string
  payeeUri: string
}): Promise<Context> {
  const { payer, payee } = clients
  let spent = 0
  const spend = (msat: number): void => {
    if (spent + msat > MOST_MSAT) throw new Error('The suite would spend more than 100 sats; it stops here.')
    spent += msat
  }
  return {
    ...clients,
    payerInfo: await payer.info(),
    payeeInfo: await payee.info(),
    invoice: (params = {}) =>
      payee.get('make_invoice', { amount: SAT, description: 'conformance', ...params }),
    spend,
    async pay(invoice, from = payer) {
      spend(SAT)
      const result = await from.get('pay_invoice', { invoice })
      spend(Number(result['fees_paid'] ?? 0))
      return result
    },
  }
}

export const codeOf = ({ error }: Reply): string | undefined => error?.code
export { must, Wrong }
