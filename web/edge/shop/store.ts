/**
 * The seller's side of a shop: tells its list, takes orders, delivers sealed goods, and hands over the key only through
 * the payment. It sells while its tab is open. What it sells and for how much is kept in the journal.
 */
import * as v from 'valibot'
import {
  fromUtf8,
  sha256Hex,
  toHex,
  utf8,
  type Bytes,
  type PartyKey,
  type Sha256Hex,
} from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { sum, type Money, type Msat } from '../../core/money/msat.ts'
import { publicKey, signEvent, type SecretKey } from '../../core/nostr/event.ts'
import { STORE } from '../../core/nostr/kinds.ts'
import { crypt, hashOfSecret, orderSecret } from '../../core/shop/seal.ts'
import {
  encodeStoreCode,
  goodSchema,
  LISTING_LIFE_S,
  listingSchema,
  MAX_GOOD_BYTES,
  MAX_GOODS,
  MAX_LISTING_BYTES,
  partAt,
  partsOf,
  TELL_EVERY_MS,
  toShopSchema,
  toText,
  type Good,
  type Listing,
  type REFUSALS,
  type ToBuyer,
  type ToShop,
} from '../../core/shop/shop.ts'
import { encryptTo } from '../nostr/nip44.ts'
import type { Pool } from '../nostr/pool.ts'
import type { Journal } from '../swarm/api.ts'
import type { Invoice, Wallet, WalletInfo } from '../wallet/wallet.ts'
import { openTalk } from './talk.ts'

export type Sale = Readonly<{ order: Sha256Hex; title: string; amount: Msat; atMs: number }>
export type StoreView = Readonly<{
  /** What visitors are given. */
  code: string
  name: string
  open: boolean
  goods: readonly Good[]
  /** Latest first. */
  sales: readonly Sale[]
  earned: Msat
  /** Orders with an invoice that is not paid yet. */
  waiting: number
  /** Why nobody can buy now, in words. */
  trouble?: string
}>
export type NewGood = Readonly<
  Pick<Good, 'kind' | 'title' | 'about' | 'priceMsat' | 'fileName' | 'version' | 'vendor'>
> &
  Readonly<{ content: Bytes }>

export class StoreError extends Error {
  override readonly name = 'StoreError'
}

export interface Store {
  readonly view: Live<StoreView>
  rename(name: string): Promise<void>
  setOpen(open: boolean): Promise<void>
  /** @throws StoreError when it is too large or the list is full */
  add(good: NewGood): Promise<void>
  setPrice(id: string, price: Msat): Promise<void>
  remove(id: string): Promise<void>
  /** Where the money goes; `undefined` while it is locked or not chosen. */
  setWallet(wallet: Wallet | undefined): void
  close(): void
}

export type StoreOptions = Readonly<{
  pool: Pool
  /** ws:// or wss://, for the code. */
  relay: string
  money: Money
  /** The shop's own key, and the key that its visitors read the list with. */
  secret: SecretKey
  visitor: SecretKey
  journal: Journal
  nowMs?: () => number
  random?: (length: number) => Bytes
}>

const LISTING = 'store/listing'
const GOOD = 'store/good/'
const ORDER = 'store/order/'
const SALES = 'store/sales'
const INVOICE_SECONDS = 600
/** Orders waiting for their payment: one more is refused. */
const MAX_WAITING = 200
const MAX_SALES = 500
/** A slider tells at most so often; the last word always goes out. */
const TELL_SOON_MS = 250
const LOOK_EVERY_MS = 5_000

type Order = {
  good: Good
  buyer: PartyKey
  paymentHash: Sha256Hex
  bolt11: string
  opensWith: 'key' | 'claim'
  expiresAtMs: number
  sealed?: Bytes
}
const salesSchema = v.array(
  v.object({
    order: v.custom<Sha256Hex>((x) => typeof x === 'string'),
    title: v.string(),
    amount: v.custom<Msat>((x) => Number.isSafeInteger(x)),
    atMs: v.number(),
  }),
)

/** Opens the shop as it was left, closed doors or open. */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { pool, relay, secret, visitor, journal } = options
  const nowMs = options.nowMs ?? Date.now
  const random = options.random ?? ((length) => crypto.getRandomValues(new Uint8Array(length)))
  const kept = await read(journal, LISTING, listingSchema)
  let listing: Listing =
    kept?.money === options.money
      ? kept
      : { v: 1, name: 'My shop', money: options.money, open: false, goods: kept?.goods ?? [] }
  let sales: readonly Sale[] = (await read(journal, SALES, salesSchema)) ?? []
  const orders = new Map<Sha256Hex, Order>()
  /** Orders whose invoice the wallet makes now: a buyer that waits for it asks again. */
  const taking = new Set<Sha256Hex>()
  let wallet: Wallet | undefined
  let info: WalletInfo | undefined
  let unwatch: (() => void) | undefined
  let trouble: string | undefined = 'Choose the wallet that is paid.'
  let closed = false
  let lastTold = 0

  const code = encodeStoreCode({ shop: publicKey(secret), relay, visitor })
  const snapshot = (): StoreView => ({
    code,
    name: listing.name,
    open: listing.open,
    goods: listing.goods,
    sales,
    earned: sum(sales.map(({ amount }) => amount)),
    waiting: orders.size,
    ...(trouble !== undefined && { trouble }),
  })
  const view = liveCell<StoreView>(snapshot())
  const show = (): void => {
    if (!closed) view.set(snapshot())
  }

  // --- the list

  /** Open only while there is a wallet to be paid into. */
  const told = (): Listing => ({ ...listing, open: listing.open && trouble === undefined && !closed })
  function tell(): void {
    const atS = Math.floor(nowMs() / 1000)
    // Of two lists of one second the later must win: its time is a second ahead then.
    lastTold = Math.max(atS, lastTold + 1)
    const event = signEvent(
      {
        kind: STORE,
        created_at: lastTold,
        tags: [
          ['d', 'store'],
          ['expiration', String(atS + LISTING_LIFE_S)],
        ],
        content: encryptTo(secret, publicKey(visitor), JSON.stringify(told())),
      },
      secret,
      random(32),
    )
    pool.publish(event, { timeoutMs: TELL_EVERY_MS }).catch(() => undefined) // told again in a minute
  }
  let soon: ReturnType<typeof setTimeout> | undefined
  const tellSoon = (): void => {
    soon ??= setTimeout(() => {
      soon = undefined
      tell()
    }, TELL_SOON_MS)
  }
  async function change(next: Listing): Promise<void> {
    listing = next
    show()
    tellSoon()
    await journal.put(LISTING, utf8(JSON.stringify(next)))
  }
  const standing = setInterval(tell, TELL_EVERY_MS)

  // --- orders

  const talk = openTalk(
    pool,
    secret,
    toShopSchema,
    (buyer, said) => void hear(buyer, said).catch(() => undefined),
    nowMs,
  )
  const answer = (buyer: PartyKey, message: ToBuyer): Promise<void> =>
    talk.say(buyer, message).catch(() => undefined) // the buyer asks again
  const refuse = (
    buyer: PartyKey,
    order: Sha256Hex,
    why: (typeof REFUSALS)[number],
    message: string,
    priceMsat?: Msat,
  ): Promise<void> =>
    answer(buyer, { tag: 'refused', order, why, message, ...(priceMsat !== undefined && { priceMsat }) })

  async function hear(buyer: PartyKey, said: ToShop): Promise<void> {
    const known = orders.get(said.order)
    if (known && known.buyer !== buyer) return
    if (said.tag === 'order' && taking.has(said.order)) return
    if (said.tag === 'order') return known ? resay(said.order, known) : take(buyer, said)
    if (said.tag === 'part') return known && deliver(said.order, known, said.index)
    return claim(buyer, said.order, said.preimage)
  }
  const resay = (order: Sha256Hex, { buyer, bolt11, opensWith }: Order): Promise<void> =>
    answer(buyer, { tag: 'invoice', order, bolt11, opensWith })

  async function take(buyer: PartyKey, said: ToShop & { tag: 'order' }): Promise<void> {
    const { order } = said
    if (!told().open || !wallet || !info) return refuse(buyer, order, 'closed', 'The shop is closed.')
    const good = listing.goods.find(({ id }) => id === said.good)
    if (!good) return refuse(buyer, order, 'gone', 'This is not sold any more.')
    if (good.priceMsat !== said.priceMsat)
      return refuse(buyer, order, 'price', 'The price has changed.', good.priceMsat)
    forgetLapsed()
    if (orders.size + taking.size >= MAX_WAITING)
      return refuse(buyer, order, 'busy', 'Too many orders wait. Try again soon.')
    taking.add(order)
    try {
      const [invoice, opensWith] = await invoiceFor(wallet, info, order, good)
      const { bolt11, paymentHash, expiresAtMs } = invoice
      const made: Order = { good, buyer, paymentHash, bolt11, opensWith, expiresAtMs }
      // A claim may come after a restart: what it is checked against is kept first.
      if (opensWith === 'claim')
        await journal.put(ORDER + order, utf8(JSON.stringify({ paymentHash, buyer })))
      orders.set(order, made)
      show()
      await resay(order, made)
    } catch {
      await refuse(buyer, order, 'wallet', 'The shop’s wallet makes no invoice now. Try again later.')
    } finally {
      taking.delete(order)
    }
  }

  async function invoiceFor(
    to: Wallet,
    { features }: WalletInfo,
    order: Sha256Hex,
    good: Good,
  ): Promise<[Invoice, Order['opensWith']]> {
    const key = orderSecret(secret, order)
    const wanted = { amount: good.priceMsat, description: good.title, expirySeconds: INVOICE_SECONDS }
    if (features.has('preimage-invoices')) return [await to.makeInvoice({ ...wanted, preimage: key }), 'key']
    if (features.has('hold-invoices'))
      return [await to.makeHoldInvoice({ ...wanted, paymentHash: hashOfSecret(key) }), 'key']
    return [await to.makeInvoice(wanted), 'claim']
  }

  async function deliver(order: Sha256Hex, one: Order, index: number): Promise<void> {
    if (index >= partsOf(one.good.bytes)) return
    const sealedGood = one.sealed ?? (await sealed(order, one.good))
    if (!sealedGood) return
    one.sealed = sealedGood

    await answer(one.buyer, { tag: 'part', order, index, data: toText(partAt(sealedGood, index)) })
  }
  async function sealed(order: Sha256Hex, good: Good): Promise<Bytes | undefined> {
    const content = await journal.get(GOOD + good.sha256)
    return content && crypt(orderSecret(secret, order), order, content)
  }

  async function claim(buyer: PartyKey, order: Sha256Hex, preimage: string): Promise<void> {
    const found = await read(journal, ORDER + order, v.object({ paymentHash: v.string(), buyer: v.string() }))
    if (!found || found.buyer !== buyer || hashOfSecret(preimage) !== found.paymentHash)
      return refuse(buyer, order, 'unpaid', 'This preimage does not prove the payment of this order.')
    await answer(buyer, { tag: 'key', order, key: orderSecret(secret, order) as Sha256Hex })
    // Its wallet may have told of it while nobody listened.
    await paid(hashOfSecret(preimage))
  }

  // --- payments

  async function paid(paymentHash: Sha256Hex): Promise<void> {
    const found = [...orders].find(([, one]) => one.paymentHash === paymentHash)
    if (!found || sales.some(({ order }) => order === found[0])) return
    const [order, { good }] = found
    orders.delete(order)
    sales = [{ order, title: good.title, amount: good.priceMsat, atMs: nowMs() }, ...sales].slice(
      0,
      MAX_SALES,
    )
    show()
    await journal.put(SALES, utf8(JSON.stringify(sales))).catch(() => undefined) // written with the next one
  }
  function forgetLapsed(): void {
    for (const [order, one] of orders) if (one.expiresAtMs + LOOK_EVERY_MS < nowMs()) orders.delete(order)
  }
  /** For wallets that tell of no payment. */
  async function look(): Promise<void> {
    forgetLapsed()
    if (!wallet || !info || info.features.has('notifications') || !info.features.has('look-up')) return
    for (const { paymentHash } of orders.values()) {
      const found = await wallet.lookUp(paymentHash).catch(() => undefined)
      if (found?.state === 'settled') await paid(paymentHash)
    }
  }
  const looking = setInterval(() => void look(), LOOK_EVERY_MS)

  async function learn(of: Wallet): Promise<void> {
    try {
      const known = await of.info()
      if (wallet !== of) return
      info = known
      trouble =
        known.money !== options.money
          ? 'This wallet holds other money than this shop sells for.'
          : known.features.has('receive')
            ? undefined
            : 'This wallet may not receive. Choose another.'
    } catch (error) {
      if (wallet !== of) return
      trouble = error instanceof Error ? error.message : String(error)
      setTimeout(() => wallet === of && void learn(of), LOOK_EVERY_MS)
    }
    show()
    tellSoon()
  }

  return {
    view,
    rename: (name) => change({ ...listing, name: name.slice(0, 100) }),
    setOpen: (open) => change({ ...listing, open }),
    async add({ content, ...rest }) {
      if (content.length === 0) throw new StoreError('There is nothing in it.')
      if (content.length > MAX_GOOD_BYTES)
        throw new StoreError('At most 1 MiB is sold here. Publish larger files as releases.')
      if (listing.goods.length >= MAX_GOODS) throw new StoreError(`A shop lists at most ${MAX_GOODS} goods.`)
      const good = v.parse(goodSchema, {
        ...rest,
        id: toHex(random(8)),
        bytes: content.length,
        sha256: sha256Hex(content),
      })
      const withIt = (): Listing => ({ ...listing, goods: [...listing.goods, good] })
      if (utf8(JSON.stringify(withIt())).length > MAX_LISTING_BYTES)
        throw new StoreError('The list is full. Shorten titles and descriptions, or remove goods.')
      await journal.put(GOOD + good.sha256, content)
      await change(withIt())
    },
    setPrice: (id, priceMsat) =>
      change({
        ...listing,
        goods: listing.goods.map((good) => (good.id === id ? { ...good, priceMsat } : good)),
      }),
    remove: (id) => change({ ...listing, goods: listing.goods.filter((good) => good.id !== id) }),
    setWallet(next) {
      if (next === wallet) return
      unwatch?.()
      wallet = next
      info = undefined
      trouble = next ? 'Asking the wallet.' : 'Choose the wallet that is paid.'
      show()
      if (!next) return tellSoon()
      unwatch = next.onEvent((event) => {
        const { paymentHash } = event.transaction
        if (event.tag === 'received') void paid(paymentHash)
        if (event.tag !== 'hold-accepted') return
        const found = [...orders].find(([, one]) => one.paymentHash === paymentHash)
        if (found)
          next.settleHoldInvoice(orderSecret(secret, found[0])).then(
            () => paid(paymentHash),
            () => undefined,
          )
      })
      void learn(next)
    },
    close() {
      if (closed) return
      closed = true
      clearInterval(standing)
      clearInterval(looking)
      clearTimeout(soon)
      unwatch?.()
      wallet = undefined
      tell()
      talk.close()
    },
  }
}

async function read<const S extends v.GenericSchema>(
  journal: Journal,
  name: string,
  schema: S,
): Promise<v.InferOutput<S> | undefined> {
  const bytes = await journal.get(name)
  if (!bytes) return undefined
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), fromUtf8(bytes))
  return parsed.success ? parsed.output : undefined
}
