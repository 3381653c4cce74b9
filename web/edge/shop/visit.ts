/**
 * The buyer's side of a shop: its list as it changes, and purchases. The sealed good is here before it is paid, the
 * payment hands over its key, and what was paid is never paid again: an unknown payment is looked up until it is known.
 */
import * as v from 'valibot'
import { concat, fromUtf8, utf8, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import type { Money, Msat } from '../../core/money/msat.ts'
import { parseMoney } from '../../core/money/msat.ts'
import { publicKey, tagValue, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { STORE } from '../../core/nostr/kinds.ts'
import { checkInvoice, hashOfSecret, openGood, orderId } from '../../core/shop/seal.ts'
import {
  fromText,
  goodSchema,
  listingSchema,
  partsOf,
  toBuyerSchema,
  type Good,
  type Listing,
  type StoreCode,
  type ToBuyer,
  type ToShop,
} from '../../core/shop/shop.ts'
import { decryptFrom } from '../nostr/nip44.ts'
import type { Pool } from '../nostr/pool.ts'
import type { Journal } from '../swarm/api.ts'
import type { Wallet } from '../wallet/wallet.ts'
import { openTalk } from './talk.ts'

/** Where a purchase stands. `paying`: asked for, and looked up until it is known. */
export type BuyStep =
  | { tag: 'ordering' }
  | { tag: 'fetching'; have: number; of: number }
  | { tag: 'paying'; message?: string }
  | { tag: 'unlocking' }

export type Bought = Readonly<{
  order: Sha256Hex
  good: Good
  shop: string
  money: Money
  atMs: number
  /** `paying`: not known yet whether it was paid. `spoilt`: paid, and not what was promised. */
  state: 'paying' | 'opened' | 'spoilt'
  preimage?: string
}>

export type VisitView = Readonly<{
  /** Absent until the shop's list came. */
  listing?: Listing
  /** Until when the list is the shop's word; past it, nobody sells. */
  validUntilMs: number
}>

export class BuyError extends Error {
  override readonly name = 'BuyError'
  /** The price now, where that is why. */
  readonly price: Msat | undefined
  constructor(message: string, price?: Msat) {
    super(message)
    this.price = price
  }
}

export interface Visit {
  readonly view: Live<VisitView>
  /** @throws BuyError in words; nothing was paid then */
  buy(good: Good, wallet: Wallet, onStep: (step: BuyStep) => void): Promise<Bought>
  close(): void
}

const ANSWER_MS = 10_000
const TRIES = 3
const LOOK_AGAIN_MS = 3_000
const RECORD = 'bought/record/'
const SEALED = 'bought/sealed/'
const CONTENT = 'bought/content/'
/** Parts asked for at once. */
const WINDOW = 4

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
})
type PurchaseRecord = v.InferOutput<typeof recordSchema>

export type VisitOptions = Readonly<{
  code: StoreCode
  pool: Pool
  journal: Journal
  /** The buyer's key for this shop, kept as long as its purchases. */
  secret: SecretKey
  nowMs?: () => number
}>

export function visitStore(options: VisitOptions): Visit {
  const { code, pool, journal, secret } = options
  const nowMs = options.nowMs ?? Date.now
  const view = liveCell<VisitView>({ validUntilMs: 0 })
  const waiting = new Set<(said: ToBuyer) => void>()
  let newest = 0
  let closed = false

  function read(event: NostrEvent): void {
    if (event.pubkey !== code.shop || event.created_at <= newest) return
    try {
      const json: unknown = JSON.parse(decryptFrom(code.visitor, event.pubkey, event.content))
      const parsed = v.safeParse(listingSchema, json)
      if (!parsed.success) return
      newest = event.created_at
      view.set({ listing: parsed.output, validUntilMs: Number(tagValue(event, 'expiration') ?? 0) * 1000 })
    } catch {
      // not for these visitors
    }
  }
  const endList = pool.subscribe([{ kinds: [STORE], authors: [code.shop], '#d': ['store'] }], read)
  const talk = openTalk(
    pool,
    secret,
    toBuyerSchema,
    (from, said) => {
      if (from === code.shop) for (const run of [...waiting]) run(said)
    },
    nowMs,
  )

  /** Says it, and waits for an answer that `wanted` takes; asks again when none comes. @throws BuyError */
  async function ask<T>(message: ToShop, wanted: (said: ToBuyer) => T | undefined): Promise<T> {
    for (let tries = 0; tries < TRIES && !closed; tries++) {
      const answer = await new Promise<T | undefined>((resolve, reject) => {
        const end = (): void => {
          clearTimeout(timer)
          waiting.delete(hear)
        }
        const hear = (said: ToBuyer): void => {
          if (said.order !== message.order) return
          if (said.tag === 'refused') {
            end()
            return reject(new BuyError(said.message, said.priceMsat))
          }
          const found = wanted(said)
          if (found === undefined) return
          end()
          resolve(found)
        }
        const timer = setTimeout(() => {
          end()
          resolve(undefined)
        }, ANSWER_MS)
        waiting.add(hear)
        talk.say(code.shop, message).catch(() => undefined) // the time limit speaks for it
      })
      if (answer !== undefined) return answer
    }
    throw new BuyError('The shop does not answer. Its tab may be closed; nothing was paid by this.')
  }

  async function fetchSealed(order: Sha256Hex, good: Good, onPart: (have: number) => void): Promise<Bytes> {
    const of = partsOf(good.bytes)
    const parts: Bytes[] = []
    let next = 0
    const worker = async (): Promise<void> => {
      for (let index = next++; index < of; index = next++) {
        parts[index] = await ask({ tag: 'part', order, index }, (said) =>
          said.tag === 'part' && said.index === index ? fromText(said.data) : undefined,
        )
        onPart(parts.filter(Boolean).length)
      }
    }
    await Promise.all(Array.from({ length: Math.min(WINDOW, of) }, worker))
    const sealed = concat(...parts)
    if (sealed.length !== good.bytes)
      throw new BuyError('The shop sent something else than it lists. Nothing was paid.')
    return sealed
  }

  /** Until the wallet says: paid, or never paid. A payment that may have gone out is only looked up. */
  async function payUntilKnown(
    wallet: Wallet,
    bolt11: string,
    onStep: (step: BuyStep) => void,
  ): Promise<string> {
    for (;;) {
      const result = await wallet.pay(bolt11)
      if (result.tag === 'paid') return result.preimage
      if (result.tag === 'failed') throw new BuyError(result.message)
      onStep({ tag: 'paying', message: result.message })
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    }
  }

  async function finish(record: PurchaseRecord, preimage: string): Promise<Bought> {
    const paid = { ...record, preimage }
    // The preimage first: from here on it can be opened after any crash.
    await keep(journal, paid)
    const key =
      record.opensWith === 'key'
        ? preimage
        : await ask({ tag: 'claim', order: record.order, preimage: preimage as Sha256Hex }, (said) =>
            said.tag === 'key' ? said.key : undefined,
          )
    const sealed = await journal.get(SEALED + record.order)
    const content = sealed && openGood(key, record.order, sealed, record.good)
    if (content) await journal.put(CONTENT + record.order, content)
    const done = { ...paid, state: content ? 'opened' : 'spoilt' } as const
    await keep(journal, done)
    await journal.delete(SEALED + record.order)
    return done
  }

  return {
    view,
    async buy(good, wallet, onStep) {
      const { listing } = view.get()
      if (!listing) throw new BuyError('The shop’s list has not come yet.')
      onStep({ tag: 'ordering' })
      const order = orderId(publicKey(secret), crypto.getRandomValues(new Uint8Array(16)))
      const invoice = await ask({ tag: 'order', order, good: good.id, priceMsat: good.priceMsat }, (said) =>
        said.tag === 'invoice' ? said : undefined,
      )
      const payable = checkInvoice(invoice.bolt11, good.priceMsat, listing.money, nowMs())
      if (!payable.ok) throw new BuyError(payable.message)
      const of = partsOf(good.bytes)
      onStep({ tag: 'fetching', have: 0, of })
      const sealed = await fetchSealed(order, good, (have) => onStep({ tag: 'fetching', have, of }))
      await journal.put(SEALED + order, sealed)
      const record: PurchaseRecord = {
        v: 1,
        order,
        good,
        shop: listing.name,
        money: listing.money,
        atMs: nowMs(),
        bolt11: invoice.bolt11,
        opensWith: invoice.opensWith,
        state: 'paying',
      }
      await keep(journal, record)
      onStep({ tag: 'paying' })
      let preimage: string
      try {
        preimage = await payUntilKnown(wallet, record.bolt11, onStep)
      } catch (error) {
        await forget(journal, order)
        throw error
      }
      if (hashOfSecret(preimage) !== payable.paymentHash)
        throw new BuyError('The wallet’s proof is not for this.')
      onStep({ tag: 'unlocking' })
      return finish(record, preimage)
    },
    close() {
      closed = true
      endList()
      talk.close()
    },
  }
}

/** What was bought, latest first; what a crash left half done is finished where its preimage can be had. */
export async function boughtGoods(
  journal: Journal,
  wallets: readonly Wallet[] = [],
): Promise<readonly Bought[]> {
  const found: Bought[] = []
  for (const name of await journal.keys(RECORD)) {
    const bytes = await journal.get(name)
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), recordSchema), bytes ? fromUtf8(bytes) : '')
    if (parsed.success) found.push(await recover(journal, parsed.output, wallets))
  }
  return found.sort((a, b) => b.atMs - a.atMs)
}

async function recover(
  journal: Journal,
  record: PurchaseRecord,
  wallets: readonly Wallet[],
): Promise<Bought> {
  if (record.state !== 'paying' || record.opensWith !== 'key') return record
  const sealed = await journal.get(SEALED + record.order)
  if (!sealed) return record
  const preimage = record.preimage ?? (await findPreimage(record, wallets))
  if (preimage === undefined) return record
  const content = openGood(preimage, record.order, sealed, record.good)
  if (content) await journal.put(CONTENT + record.order, content)
  const done = { ...record, preimage, state: content ? 'opened' : 'spoilt' } as const
  await keep(journal, done)
  return done
}

async function findPreimage(record: PurchaseRecord, wallets: readonly Wallet[]): Promise<string | undefined> {
  const payable = checkInvoice(record.bolt11, record.good.priceMsat, record.money, record.atMs)
  if (!payable.ok) return undefined
  for (const wallet of wallets) {
    const told = await wallet.lookUp(payable.paymentHash).catch(() => undefined)
    if (told?.direction === 'out' && told.preimage !== undefined) return told.preimage
  }
  return undefined
}

export const contentOf = (journal: Journal, order: Sha256Hex): Promise<Bytes | undefined> =>
  journal.get(CONTENT + order)

const keep = (journal: Journal, record: PurchaseRecord): Promise<void> =>
  journal.put(RECORD + record.order, utf8(JSON.stringify(record)))
async function forget(journal: Journal, order: Sha256Hex): Promise<void> {
  await journal.delete(RECORD + order)
  await journal.delete(SEALED + order)
}
