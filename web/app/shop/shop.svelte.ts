/** Both sides of the shop for the page: one tab of a browser sells; buying may go on in any. Lives outside the page. */
import { liveCell } from '../../core/live.ts'
import { parseMoney, type Money } from '../../core/money/msat.ts'
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import { fromHex, toHex } from '../../core/bytes.ts'
import { decodeStoreCode, type Good, type StoreCode } from '../../core/shop/shop.ts'
import { createPool, type Pool } from '../../edge/nostr/pool.ts'
import { relayOf, signedBy, type SignedBy } from '../../edge/shop/signed.ts'
import { openStore, type Store, type StoreView } from '../../edge/shop/store.ts'
import { boughtGoods, claimPaid, contentOf, type Bought } from '../../edge/shop/purchases.ts'
import { BuyError, claimer, visitStore } from '../../edge/shop/visit.ts'
import type { BuyStep, Visit, VisitView } from '../../edge/shop/visit.ts'
import { openIdbJournal } from '../../edge/storage/idb-journal.ts'
import { words, type Words } from '../errors.ts'
import { status } from '../shell/status.svelte.ts'
import { wallets } from '../wallet/wallets.svelte.ts'

const LOCK = 'satpatch-shop'
const JOURNAL = 'satpatch-shop'
const SIDE = 'satpatch.shop.side'
const VISITED = 'satpatch.shop.visited'
const PAID_INTO = 'satpatch.shop.wallet'

export type SellPhase =
  | { tag: 'starting' }
  /** Another tab of this browser has the shop. */
  | { tag: 'elsewhere' }
  | { tag: 'ready'; view: StoreView }
  | { tag: 'failed'; trouble: Words }

class Selling {
  phase = $state.raw<SellPhase>({ tag: 'starting' })
  /** The wallet that is paid. */
  walletId = $state(kept(PAID_INTO))
  store: Store | undefined
  #begun = false
  readonly #wallet = liveCell<string | undefined>(this.walletId)

  async begin(): Promise<void> {
    if (this.#begun) return
    this.#begun = true
    await wallets.begin()
    try {
      const free = await navigator.locks.request(LOCK, { ifAvailable: true }, (lock) => lock !== null)
      if (!free) this.phase = { tag: 'elsewhere' }
      await navigator.locks.request(LOCK, async () => {
        await this.#run()
        await new Promise<never>(() => undefined)
      })
    } catch (error) {
      this.phase = { tag: 'failed', trouble: words(error) }
      this.#begun = false
    }
  }

  async #run(): Promise<void> {
    const { nostrUrl, money } = await wallets.relay()
    const store = await openStore({
      pool: createPool([nostrUrl]),
      relay: nostrUrl,
      money: moneyOf(this.walletId) ?? money,
      secret: await keptSecret('shop/key'),
      visitor: await keptSecret('shop/visitor'),
      journal,
    })
    this.store = store
    addEventListener('pagehide', () => store.close())
    store.view.subscribe((view) => {
      this.phase = { tag: 'ready', view }
      status.shop = view.open ? 'open' : undefined
    })
    const choose = (): void => store.setWallet(wallets.open.get().get(this.#wallet.get() ?? '')?.wallet)
    this.#wallet.subscribe(choose)
    wallets.open.subscribe(choose)
  }

  payInto(id: string): void {
    this.walletId = id
    keep(PAID_INTO, id)
    this.#wallet.set(id)
  }
}

export type BuyState =
  | { tag: 'idle' }
  | { tag: 'buying'; good: string; step: BuyStep }
  | { tag: 'failed'; good: string; trouble: Words }

class Buying {
  code = $state.raw<StoreCode>()
  view = $state.raw<VisitView>({ validUntilMs: 0 })
  state = $state.raw<BuyState>({ tag: 'idle' })
  bought = $state.raw<readonly Bought[]>([])
  /** Who signed the releases of the list, by the good's id; absent while it is looked for. */
  signed = $state.raw<ReadonlyMap<string, SignedBy | 'nobody'>>(new Map())
  readonly #checking = new Set<string>()
  /** What was bought last, to be shown at once. */
  fresh = $state<Sha256Hex>()
  #visit: Visit | undefined
  #pool: Pool | undefined
  #claiming = false
  #follows = false

  async begin(link: string | undefined): Promise<void> {
    await wallets.begin()
    const text = link ?? (this.code ? undefined : kept(VISITED))
    if (text !== undefined) await this.enter(text)
    await this.readBought()
    if (this.#follows) return
    this.#follows = true
    wallets.open.subscribe(() => void this.readBought())
  }

  /** Enters the shop of a code; false when it is none. */
  async enter(text: string): Promise<boolean> {
    const code = decodeStoreCode(text)
    if (!code) return false
    const secret = await keptSecret('shop/buyer')
    this.leave()
    keep(VISITED, text.trim())
    this.code = code
    this.#pool = createPool([code.relay])
    this.#visit = visitStore({ code, pool: this.#pool, journal, secret })
    this.#visit.view.subscribe((view) => (this.view = view))
    return true
  }
  leave(): void {
    this.#visit?.close()
    this.#pool?.close()
    this.code = undefined
    this.view = { validUntilMs: 0 }
    this.state = { tag: 'idle' }
    keep(VISITED, undefined)
  }

  async buy(good: Good, walletId: string): Promise<void> {
    const wallet = wallets.wallet(walletId)
    if (!wallet || !this.#visit || this.state.tag === 'buying') return
    this.state = { tag: 'buying', good: good.id, step: { tag: 'ordering' } }
    try {
      const done = await this.#visit.buy(good, wallet, (step) => {
        this.state = { tag: 'buying', good: good.id, step }
      })
      this.state = { tag: 'idle' }
      this.fresh = done.order
    } catch (error) {
      this.state = { tag: 'failed', good: good.id, trouble: buyWords(error) }
    }
    wallets.refresh(walletId)
    await this.readBought()
  }

  /** Looks once for the signature that a release claims. */
  async checkSigned(good: Good): Promise<void> {
    const { code } = this
    if (!code || this.#checking.has(good.id)) return
    this.#checking.add(good.id)
    const ask = { relay: relayOf(code.relay), nowMs: Date.now(), fetch: fetch.bind(globalThis) }
    const found = good.vendor === undefined ? undefined : await signedBy(good.vendor, good.sha256, ask)
    this.signed = new Map(this.signed).set(good.id, found ?? 'nobody')
  }

  async readBought(): Promise<void> {
    const open = [...wallets.open.get().values()].map(({ wallet }) => wallet)
    this.bought = await boughtGoods(journal, open)
    await this.#claim()
  }
  /** Keys that were paid for and have not come: their shops are asked, one round at a time. */
  async #claim(): Promise<void> {
    if (this.#claiming) return
    this.#claiming = true
    try {
      const claim = claimer(await keptSecret('shop/buyer'), (relay) => createPool([relay]))
      if (await claimPaid(journal, claim)) this.bought = await boughtGoods(journal)
    } finally {
      this.#claiming = false
    }
  }
  content(order: Sha256Hex): Promise<Bytes | undefined> {
    return contentOf(journal, order)
  }
}

const journal = openIdbJournal(JOURNAL)

/** A secret of this browser, made when it is first needed. It names a shop or a buyer and moves no money. */
async function keptSecret(name: string): Promise<Bytes> {
  const { vault } = wallets
  return navigator.locks.request(`satpatch/${name}`, async () => {
    const found = await vault.get(name)
    if (found !== undefined) return fromHex(found)
    const made = crypto.getRandomValues(new Uint8Array(32))
    await vault.put(name, toHex(made), 'browser')
    return made
  })
}

function moneyOf(id: string | undefined): Money | undefined {
  const row = wallets.rows.find((one) => one.id === id)
  const money = row?.tag === 'open' ? row.view.info?.money : undefined
  return money && parseMoney(money)
}
function buyWords(error: unknown): Words {
  if (error instanceof BuyError && error.price !== undefined)
    return { what: error.message, todo: 'Look at the new price, then buy again. Nothing was paid.' }
  return words(error)
}

export function kept(name: string): string | undefined {
  try {
    return localStorage.getItem(name) ?? undefined
  } catch {
    return undefined
  }
}
export function keep(name: string, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(name)
    else localStorage.setItem(name, value)
  } catch {
    // it holds until the page is closed
  }
}
export type Side = 'buy' | 'sell'
export const keptSide = (): Side => (kept(SIDE) === 'sell' ? 'sell' : 'buy')
export const keepSide = (side: Side): void => keep(SIDE, side)

export const selling = new Selling()
export const buying = new Buying()
