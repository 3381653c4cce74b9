/** What a browser has bought: each purchase is on the medium before it is paid, and finished after any crash. */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { parseMoney, type Money } from '../../core/money/msat.ts'
import { checkInvoice, hashOfSecret, openGood } from '../../core/shop/seal.ts'
import { decodeStoreCode, goodSchema, type Good, type StoreCode } from '../../core/shop/shop.ts'
import type { Journal } from '../swarm/api.ts'
import type { Wallet } from '../wallet/wallet.ts'

export type Bought = Readonly<{
  order: Sha256Hex
  good: Good
  shop: string
  money: Money
  atMs: number
  /** `paying`: not known yet whether it was paid, or paid and its key not here. `spoilt`: paid, and not what was promised. */
  state: 'paying' | 'opened' | 'spoilt'
  preimage?: string
}>

const RECORD = 'bought/record/'
const SEALED = 'bought/sealed/'
const CONTENT = 'bought/content/'

const recordSchema = v.object({
  v: v.literal(1),
  order: v.custom<Sha256Hex>((x) => typeof x === 'string'),
  good: goodSchema,
  shop: v.string(),
  money: v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined),
  atMs: v.number(),
  bolt11: v.string(),
  opensWith: v.picklist(['key', 'claim']),
  state: v.picklist(['paying', 'opened', 'spoilt']),
  preimage: v.exactOptional(v.string()),
  /** The shop's, to ask it for a key that was paid. */
  code: v.exactOptional(v.string()),
})
export type PurchaseRecord = v.InferOutput<typeof recordSchema>

/** Before the wallet is asked: the sealed good first, then the record that says it is there. */
export async function keepPurchase(journal: Journal, record: PurchaseRecord, sealed: Bytes): Promise<void> {
  await journal.put(SEALED + record.order, sealed)
  await keep(journal, record)
}

/** The preimage, as soon as it is known: from here on it can be opened after any crash. */
export async function keepPreimage(
  journal: Journal,
  record: PurchaseRecord,
  preimage: string,
): Promise<PurchaseRecord> {
  const paid = { ...record, preimage }
  await keep(journal, paid)
  return paid
}

/** Opens what was paid; what does not open with the key is spoilt, and says so for good. */
export async function openPurchase(journal: Journal, record: PurchaseRecord, key: string): Promise<Bought> {
  const sealed = await journal.get(SEALED + record.order)
  // Another tab may have opened it, whatever this one has written of it since.
  const content = sealed
    ? openGood(key, record.order, sealed, record.good)
    : await journal.get(CONTENT + record.order)
  if (sealed && content) await journal.put(CONTENT + record.order, content)
  const done = { ...record, state: content ? 'opened' : 'spoilt' } as const
  await keep(journal, done)
  await journal.delete(SEALED + record.order)
  return done
}

/** Nothing was paid. */
export async function forgetPurchase(journal: Journal, order: Sha256Hex): Promise<void> {
  await journal.delete(RECORD + order)
  await journal.delete(SEALED + order)
}

export const contentOf = (journal: Journal, order: Sha256Hex): Promise<Bytes | undefined> =>
  journal.get(CONTENT + order)

/** What was bought, latest first; what a crash left half done is finished where its preimage can be had. */
export async function boughtGoods(
  journal: Journal,
  wallets: readonly Wallet[] = [],
): Promise<readonly Bought[]> {
  const found: Bought[] = []
  for (const record of await records(journal)) found.push(await recover(journal, record, wallets))
  return found.sort((a, b) => b.atMs - a.atMs)
}

/** Asks a shop for the key of an order that was paid; rejects while its tab is closed. */
export type Claim = (code: StoreCode, order: Sha256Hex, preimage: string) => Promise<string>

/** Finishes what was paid and waits for its shop's key. Resolves with whether anything was opened. */
export async function claimPaid(journal: Journal, claim: Claim): Promise<boolean> {
  const waiting = (await records(journal)).filter(
    ({ state, opensWith, preimage, code }) =>
      state === 'paying' && opensWith === 'claim' && preimage !== undefined && code !== undefined,
  )
  const done = await Promise.allSettled(
    waiting.map(async (record) => {
      const code = decodeStoreCode(record.code ?? '')
      if (!code || record.preimage === undefined) throw new RangeError('a damaged record')
      return openPurchase(journal, record, await claim(code, record.order, record.preimage))
    }),
  )
  return done.some(({ status }) => status === 'fulfilled')
}

async function recover(
  journal: Journal,
  record: PurchaseRecord,
  wallets: readonly Wallet[],
): Promise<Bought> {
  if (record.state !== 'paying') return record
  const preimage = record.preimage ?? (await findPreimage(record, wallets))
  if (preimage === undefined) return record
  const paid = await keepPreimage(journal, record, preimage)
  return record.opensWith === 'key' ? openPurchase(journal, paid, preimage) : paid
}

async function findPreimage(record: PurchaseRecord, wallets: readonly Wallet[]): Promise<string | undefined> {
  const payable = checkInvoice(record.bolt11, record.good.priceMsat, record.money, record.atMs)
  if (!payable.ok) return undefined
  for (const wallet of wallets) {
    const told = await wallet.lookUp(payable.paymentHash).catch(() => undefined)
    const preimage = told?.direction === 'out' ? told.preimage : undefined
    if (preimage !== undefined && hashOfSecret(preimage) === payable.paymentHash) return preimage
  }
  return undefined
}

async function records(journal: Journal): Promise<PurchaseRecord[]> {
  const found = await Promise.all((await journal.keys(RECORD)).map((name) => readRecord(journal, name)))
  return found.flatMap((record) => (record ? [record] : []))
}
async function readRecord(journal: Journal, name: string): Promise<PurchaseRecord | undefined> {
  const bytes = await journal.get(name)
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), recordSchema), bytes ? fromUtf8(bytes) : '')
  return parsed.success ? parsed.output : undefined
}

const keep = (journal: Journal, record: PurchaseRecord): Promise<void> =>
  journal.put(RECORD + record.order, utf8(JSON.stringify(record)))
