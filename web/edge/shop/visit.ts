/**
 * The buyer's side of a shop: its list as it changes, and purchases. The sealed good is here before it is paid, the
 * payment hands over its key, and what was paid is never paid again: an unknown payment is looked up until it is known.
 */
import * as v from 'valibot'
import { concat, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import type { Msat } from '../../core/money/msat.ts'
import { publicKey, tagValue, type NostrEvent, type SecretKey } from '../../core/nostr/event.ts'
import { STORE } from '../../core/nostr/kinds.ts'
import { checkInvoice, hashOfSecret, orderId } from '../../core/shop/seal.ts'
import {
  encodeStoreCode,
  fromText,
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
import {
  forgetPurchase,
  keepPreimage,
  keepPurchase,
  openPurchase,
  type Bought,
  type Claim,
  type PurchaseRecord,
} from './purchases.ts'
import { openTalk } from './talk.ts'

/** Where a purchase stands. `paying`: asked for, and looked up until it is known. */
export type BuyStep =
  | { tag: 'ordering' }
  | { tag: 'fetching'; have: number; of: number }
  | { tag: 'paying'; message?: string }
  | { tag: 'unlocking' }

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
  constructor(message: string, { price, ...options }: ErrorOptions & { price?: Msat | undefined } = {}) {
    super(message, options)
    this.price = price
  }
}

export interface Visit {
  readonly view: Live<VisitView>
  /** @throws BuyError in words; nothing was paid then */
  buy(good: Good, wallet: Wallet, onStep: (step: BuyStep) => void): Promise<Bought>
  close(): void
}

const PAID_WITHOUT_KEY =
  'It is paid, and the shop has not given its key yet. It is asked again whenever this page is opened.'
const LEFT =
  'You left the shop before it was known whether this was paid. It is looked up whenever a wallet opens here.'
const NOT_SAID =
  'The wallet did not say whether it paid, and cannot look it up from here. Look there before you buy it again.'
const ANSWER_MS = 10_000
const TRIES = 3
const LOOK_AGAIN_MS = 3_000
/** Parts asked for at once. */
const WINDOW = 4

export type VisitOptions = Readonly<{
  code: StoreCode
  pool: Pool
  journal: Journal
  /** The buyer's key for this shop, kept as long as its purchases. */
  secret: SecretKey
  nowMs?: () => number
}>

type Ask = <T>(message: ToShop, wanted: (said: ToBuyer) => T | undefined) => Promise<T>

/** Talks to one shop: says it, and waits for an answer that `wanted` takes; asks again when none comes. */
function openAsking(
  { code, pool, secret }: Pick<VisitOptions, 'code' | 'pool' | 'secret'>,
  nowMs: () => number,
): { ask: Ask; close: () => void } {
  const waiting = new Set<(said: ToBuyer) => void>()
  let closed = false
  const talk = openTalk(
    pool,
    secret,
    toBuyerSchema,
    (from, said) => {
      if (from === code.shop) for (const run of [...waiting]) run(said)
    },
    nowMs,
  )
  const once = <T>(message: ToShop, wanted: (said: ToBuyer) => T | undefined): Promise<T | undefined> =>
    new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        waiting.delete(hear)
      }
      const hear = (said: ToBuyer): void => {
        if (said.order !== message.order) return
        if (said.tag === 'refused') {
          end()
          return reject(new BuyError(said.message, { price: said.priceMsat }))
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
  return {
    async ask(message, wanted) {
      for (let tries = 0; tries < TRIES && !closed; tries++) {
        const answer = await once(message, wanted)
        if (answer !== undefined) return answer
      }
      throw new BuyError('The shop does not answer. Its tab may be closed; nothing was paid by this.')
    },
    close() {
      closed = true
      talk.close()
    },
  }
}

const askKey = (ask: Ask, order: Sha256Hex, preimage: string): Promise<string> =>
  ask({ tag: 'claim', order, preimage: preimage as Sha256Hex }, (said) =>
    said.tag === 'key' ? said.key : undefined,
  )

/** Claims keys of shops that are not visited now; `openPool` gives a pool of its own for each. */
export const claimer =
  (secret: SecretKey, openPool: (relay: string) => Pool, nowMs: () => number = Date.now): Claim =>
  async (code, order, preimage) => {
    const pool = openPool(code.relay)
    const asking = openAsking({ code, pool, secret }, nowMs)
    try {
      return await askKey(asking.ask, order, preimage)
    } finally {
      asking.close()
      pool.close()
    }
  }

export function visitStore(options: VisitOptions): Visit {
  const { code, pool, journal, secret } = options
  const nowMs = options.nowMs ?? Date.now
  const view = liveCell<VisitView>({ validUntilMs: 0 })
  let newest = 0
  const left = new AbortController()

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
  const { ask, close: endTalk } = openAsking(options, nowMs)

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

  /**
   * Until the wallet says: paid, or never paid. A payment that may have gone out is only looked up; `undefined` when the
   * visit ends before it is known, or nobody can look.
   */
  async function payUntilKnown(
    wallet: Wallet,
    bolt11: string,
    looksUp: boolean,
    onStep: (step: BuyStep) => void,
  ): Promise<string | undefined> {
    for (;;) {
      const result = await wallet.pay(bolt11)
      if (result.tag === 'paid') return result.preimage
      if (result.tag === 'failed') throw new BuyError(result.message)
      // Wallets that look nothing up ask their owner each time.
      if (left.signal.aborted || !looksUp) return undefined
      onStep({ tag: 'paying', message: result.message })
      await waitOrLeave(LOOK_AGAIN_MS, left.signal)
    }
  }

  async function finish(record: PurchaseRecord, preimage: string): Promise<Bought> {
    const paid = await keepPreimage(journal, record, preimage)
    if (record.opensWith === 'key') return openPurchase(journal, paid, preimage)
    const key = await askKey(ask, record.order, preimage).catch((cause: unknown) => {
      throw new BuyError(PAID_WITHOUT_KEY, { cause })
    })
    return openPurchase(journal, paid, key)
  }

  return {
    view,
    async buy(good, wallet, onStep) {
      const { listing } = view.get()
      if (!listing) throw new BuyError('The shop’s list has not come yet.')
      onStep({ tag: 'ordering' })
      const looksUp = (await wallet.info()).features.has('look-up')
      const order = orderId(publicKey(secret), crypto.getRandomValues(new Uint8Array(16)))
      const invoice = await ask({ tag: 'order', order, good: good.id, priceMsat: good.priceMsat }, (said) =>
        said.tag === 'invoice' ? said : undefined,
      )
      const payable = checkInvoice(invoice.bolt11, good.priceMsat, listing.money, nowMs())
      if (!payable.ok) throw new BuyError(payable.message)
      const of = partsOf(good.bytes)
      onStep({ tag: 'fetching', have: 0, of })
      const sealed = await fetchSealed(order, good, (have) => onStep({ tag: 'fetching', have, of }))
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
        code: encodeStoreCode(code),
      }
      await keepPurchase(journal, record, sealed)
      onStep({ tag: 'paying' })
      let preimage: string | undefined
      try {
        preimage = await payUntilKnown(wallet, record.bolt11, looksUp, onStep)
      } catch (error) {
        if (error instanceof BuyError) await forgetPurchase(journal, order)
        throw error
      }
      if (preimage === undefined) throw new BuyError(left.signal.aborted ? LEFT : NOT_SAID)
      if (hashOfSecret(preimage) !== payable.paymentHash)
        throw new BuyError('The wallet’s proof is not for this.')
      onStep({ tag: 'unlocking' })
      return finish(record, preimage)
    },
    close() {
      left.abort()
      endList()
      endTalk()
    },
  }
}

function waitOrLeave(ms: number, left: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      left.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    left.addEventListener('abort', done)
    if (left.aborted) done()
  })
}
