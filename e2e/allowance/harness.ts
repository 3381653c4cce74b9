/** For tests: a relay with play money, and keepers that cut allowances from its wallets, each as in a browser of its own. */
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { liveCell } from '../../web/core/live.ts'
import { msat } from '../../web/core/money/msat.ts'
import type {
  AllowanceId,
  AllowanceKeeper,
  AllowanceView,
  KeeperOptions,
  NewAllowance,
  OpenSource,
  Source,
} from '../../web/edge/allowance/api.ts'
import { openKeeper } from '../../web/edge/allowance/keeper.ts'
import type { Live } from '../../web/core/live.ts'
import { memoryJournal } from '../../web/edge/swarm/memory.ts'
import { connectNwc, type NwcOptions } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { startService, type TestService } from '../../relay/wallet/harness.ts'

export type House = Readonly<{
  service: TestService
  /** A play-money wallet of its own. */
  account(sats: number): Promise<{ wallet: Wallet; uri: string }>
  open(uri: string, options?: NwcOptions): Promise<Wallet>
  keeper(sources: Readonly<Record<string, Wallet>>, options?: Partial<KeeperOptions>): AllowanceKeeper
  afterwards(step: () => unknown): void
  stop(): Promise<void>
}>

export async function openHouse(options: Parameters<typeof startService>[0] = {}): Promise<House> {
  const service = await startService(options)
  const undo: (() => unknown)[] = []
  const open = async (uri: string, nwc: NwcOptions = {}): Promise<Wallet> => {
    const wallet = await connectNwc(uri, nwc)
    undo.push(() => wallet.close())
    return wallet
  }
  return {
    service,
    open,
    async account(sats) {
      const { connection } = await service.wallet.openAccount({ grantMsat: sats * 1000 })
      return { wallet: await open(connection), uri: connection }
    },
    keeper(sources, more = {}) {
      const named = Object.entries(sources).map(([id, wallet]): [string, OpenSource] => [
        id,
        { name: id, wallet },
      ])
      const keeper = openKeeper({
        sources: liveCell<ReadonlyMap<string, OpenSource>>(new Map(named)),
        journal: memoryJournal(),
        lock: { acquire: () => Promise.resolve(() => undefined) },
        relays: [service.url],
        ...more,
      })
      undo.push(() => keeper.close())
      return keeper
    },
    afterwards: (step) => undo.push(step),
    async stop() {
      for (const step of undo.splice(0).toReversed()) await step()
      await service.stop()
    },
  }
}

export const sats = (amount: number) => msat(amount * 1000)

export const terms = (source: Source, limitSats: number, more: Partial<NewAllowance> = {}): NewAllowance => ({
  ...{ name: 'pi', source, limit: sats(limitSats), renewal: 'never', home: 'here' },
  may: { pay: true, receive: true },
  ...more,
})

/** Resolves when the live value satisfies `wanted`. */
export function until<T>(live: Live<T>, wanted: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    let done = false
    const stop: () => void = live.subscribe((value) => {
      if (done || !wanted(value)) return
      done = true
      // It may be so at once, when there is nothing to stop yet.
      queueMicrotask(() => stop())
      resolve(value)
    })
  })
}

/** The allowance, as soon as it is as `wanted` says. */
export async function allowance(
  keeper: AllowanceKeeper,
  id: AllowanceId,
  wanted: (view: AllowanceView) => boolean = () => true,
): Promise<AllowanceView> {
  const find = (all: readonly AllowanceView[]) => all.find((one) => one.id === id && wanted(one))
  const view = await until(keeper.view, ({ allowances }) => find(allowances) !== undefined)
  return find(view.allowances) as AllowanceView
}

/** Cuts an allowance that is ready to pay. */
export async function cut(
  keeper: AllowanceKeeper,
  source: Source,
  limitSats: number,
  more: Partial<NewAllowance> = {},
): Promise<{ id: AllowanceId; connection: string }> {
  const made = await keeper.create(terms(source, limitSats, more))
  await allowance(
    keeper,
    made.id,
    ({ available, trouble }) => available !== undefined && trouble === undefined,
  )
  return made
}

export const invoiceOf = async (payee: Wallet, amountSats: number): Promise<string> =>
  (await payee.makeInvoice({ amount: sats(amountSats), description: 'a window', expirySeconds: 600 })).bolt11

export const PREIMAGE = '0d'.repeat(32)
export const HASH = sha256Hex(fromHex(PREIMAGE))

/** A sale whose payment stays on its way until the seller settles it. */
export async function holdSale(
  shop: Wallet,
  amountSats: number,
): Promise<{ bolt11: string; locked: Promise<unknown> }> {
  const locked = new Promise((resolve) =>
    shop.onEvent((event) => event.tag === 'hold-accepted' && resolve(event)),
  )
  const { bolt11 } = await shop.makeHoldInvoice({
    ...{ amount: sats(amountSats), description: 'a purchase', expirySeconds: 600, paymentHash: HASH },
  })
  return { bolt11, locked }
}
