/**
 * A volunteer's standing order: what is earned above a sum is sent on. The order and what came of it last are on disk;
 * it is carried out while a wallet is there.
 */
import * as v from 'valibot'
import { fromUtf8, utf8 } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { parseSweepTarget } from '../../core/wallet/sweep.ts'
import type { Journal } from '../swarm/api.ts'
import { startSweeping, type Sweeper } from './sweep.ts'
import { WalletError, type Wallet } from './wallet.ts'

const ORDER = 'sweep/order'
const LAST = 'sweep/last'

const amount = v.pipe(
  v.number(),
  v.safeInteger(),
  v.minValue(0),
  v.transform((value): Msat => msat(value)),
)
const text = v.pipe(v.string(), v.maxLength(2000))
const orderSchema = v.object({
  /** Stays in the wallet. */
  above: amount,
  /** A Lightning address, or an invoice, which is paid once. */
  to: text,
})
const lastSchema = v.variant('tag', [
  v.object({ tag: v.literal('swept'), atMs: v.number(), to: text, amount, fees: amount }),
  v.object({ tag: v.literal('failed'), atMs: v.number(), to: text, why: text }),
  /** No answer: it is looked up, and no other payment is made before. */
  v.object({ tag: v.literal('unknown'), atMs: v.number(), to: text, amount }),
])
export type SweepOrder = Readonly<v.InferOutput<typeof orderSchema>>
export type SweepWord = Readonly<v.InferOutput<typeof lastSchema>>

export interface Sweeping {
  readonly state: Live<Readonly<{ order?: SweepOrder; last?: SweepWord }>>
  /** From now on, or never again. @throws WalletError when `to` is neither an address nor an invoice */
  order(order: SweepOrder | undefined): Promise<void>
  setWallet(wallet: Wallet | undefined): void
}

/** Reads the order of the last visit. */
export async function openSweeping(deps: {
  journal: Journal
  nowMs: () => number
  fetch?: typeof fetch
}): Promise<Sweeping> {
  const { journal, nowMs } = deps
  const [kept, last] = await Promise.all([read(journal, ORDER, orderSchema), read(journal, LAST, lastSchema)])
  const state = liveCell<{ order?: SweepOrder; last?: SweepWord }>({
    ...(kept && { order: kept }),
    ...(last && { last }),
  })
  let wallet: Wallet | undefined
  let sweeper: Sweeper | undefined
  let turn = Promise.resolve()

  const keep = async (order: SweepOrder | undefined): Promise<void> => {
    await (order ? journal.put(ORDER, utf8(JSON.stringify(order))) : journal.delete(ORDER))
    const { last } = state.get()
    state.set({ ...(order && { order }), ...(last && { last }) })
  }
  const say = (last: SweepWord): void => {
    state.set({ ...state.get(), last })
    void journal.put(LAST, utf8(JSON.stringify(last))).catch(() => undefined) // shown until the page is closed
  }
  /** One after the other: a payment that has begun is over before the next order or wallet has its turn. */
  const restart = (): void => {
    turn = turn.then(async () => {
      await sweeper?.stop()
      const { order } = state.get()
      const target = order && parseSweepTarget(order.to)
      sweeper = wallet && order && target && begin(wallet, order, target)
    })
  }
  const begin = (
    from: Wallet,
    order: SweepOrder,
    target: NonNullable<ReturnType<typeof parseSweepTarget>>,
  ): Sweeper =>
    startSweeping({
      ...{ wallet: from, target, above: order.above, journal, nowMs },
      ...(deps.fetch && { fetch: deps.fetch }),
      log(event, detail) {
        const common = { atMs: nowMs(), to: order.to }
        const sum = (name: string): Msat => msat(Number(detail[name] ?? 0))
        if (event === 'swept')
          say({ tag: 'swept', ...common, amount: sum('amountMsat'), fees: sum('feesMsat') })
        else if (event === 'sweep-unknown') say({ tag: 'unknown', ...common, amount: sum('amountMsat') })
        else say({ tag: 'failed', ...common, why: String(detail['why']).slice(0, 500) })
        if (event === 'swept' && target.tag === 'invoice' && state.get().order === order)
          void keep(undefined).then(restart, () => undefined)
      },
    })

  return {
    state,
    async order(order) {
      if (order && !parseSweepTarget(order.to))
        throw new WalletError('other', 'This is neither a Lightning address (name@host) nor an invoice.')
      await keep(order && { above: order.above, to: order.to.trim() })
      restart()
    },
    setWallet(next) {
      if (next === wallet) return
      wallet = next
      restart()
    },
  }
}

async function read<const S extends v.GenericSchema>(
  journal: Journal,
  key: string,
  schema: S,
): Promise<v.InferOutput<S> | undefined> {
  const kept = await journal.get(key)
  if (!kept) return undefined
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), fromUtf8(kept))
  return parsed.success ? parsed.output : undefined
}
