/**
 * What the install step allows. It believes nobody but the vendor's signatures and what it wrote down itself: whoever
 * asks may have been taken over. Pure: the step verifies, does, and keeps the state on disk before and after.
 */
import * as v from 'valibot'
import { unfitFor, whyText } from '../release/choose.ts'
import { sha256HexSchema, type Release } from '../release/target.ts'
import { timeFloorSchema } from '../release/time-floor.ts'
import { jobSchema, planSchema, type Plan } from './lifecycle.ts'

const short = (max: number) => v.pipe(v.string(), v.maxLength(max))
const which = { path: short(512), sha256: sha256HexSchema }

const productSchema = v.object({
  /** What runs, and was healthy: nothing that is not newer is taken. */
  installed: v.optional(v.object({ ...which, version: short(64) })),
  /** Begun and not decided. */
  pending: v.optional(
    v.object({
      /** As the vendor's metadata named it when it was placed: what was begun is ended, whatever is signed meanwhile. */
      release: jobSchema.entries.release,
      plan: planSchema,
      at: v.picklist(['placing', 'placed', 'switched']),
    }),
  ),
  /** How the last one ended, for whoever asks again because it was killed before it had the answer. */
  last: v.optional(v.object({ ...which, outcome: v.picklist(['healthy', 'restored']) })),
})
export type ProductState = v.InferOutput<typeof productSchema>

export const guardStateSchema = v.object({
  v: v.literal(1),
  /** The one vendor that this step is bound to. */
  vendor: sha256HexSchema,
  ...timeFloorSchema.entries,
  products: v.record(short(64), productSchema),
})
export type GuardState = v.InferOutput<typeof guardStateSchema>

export const newGuard = (vendor: GuardState['vendor']): GuardState => ({
  v: 1,
  vendor,
  floorS: 0,
  products: {},
})

/** In the order in which a release goes through them. */
export const asks = ['prepare', 'place', 'activate', 'check', 'restore'] as const
export type Ask = (typeof asks)[number]
export type Which = Readonly<{ path: string; sha256: string }>

export type Judged =
  | Readonly<{ tag: 'go'; plan: Plan }>
  /** It has been done before; the answer was lost. */
  | Readonly<{ tag: 'done' }>
  | Readonly<{ tag: 'refuse'; reason: string }>

const same = (a: Which | undefined, b: Which): boolean => a?.path === b.path && a.sha256 === b.sha256
const samePlan = (a: Plan, b: Plan): boolean => a.slot === b.slot && a.previous === b.previous
const refuse = (reason: string): Judged => ({ tag: 'refuse', reason })

export const stateOfProduct = (state: GuardState, product: string): ProductState =>
  Object.hasOwn(state.products, product) ? (state.products[product] ?? {}) : {}

/** Whether the vendor's release may go onto this device now; the reason why not. */
export function mayInstall(
  state: GuardState,
  release: Release,
  facts: Readonly<{ hardware: string; products: readonly string[]; handsOver: boolean }>,
): string | undefined {
  const { installed } = stateOfProduct(state, release.product)
  const why = unfitFor(release, {
    hardware: facts.hardware,
    handsOver: facts.handsOver,
    installed: installed === undefined ? {} : { [release.product]: installed.version },
    failed: new Set(),
    ...(facts.products.length === 0 ? {} : { products: new Set(facts.products) }),
  })
  return why && whyText({ release, why })
}

/** What is known of this very release: begun, or ended last. */
export function knownOf(state: GuardState, release: Which): ProductState | undefined {
  return Object.values(state.products).find(
    ({ pending, last }) => same(pending?.release, release) || same(last, release),
  )
}

/** For a release that has passed `mayInstall`. `own`: the plan that the slots themselves would have now. */
export function judgePlace({ pending }: ProductState, release: Which, asked: Plan, own: Plan): Judged {
  if (pending === undefined || !same(pending.release, release))
    return samePlan(own, asked) ? { tag: 'go', plan: own } : refuse('another slot runs than the plan says')
  if (!samePlan(pending.plan, asked)) return refuse('this is not the plan that was begun')
  return pending.at === 'switched' ? { tag: 'done' } : { tag: 'go', plan: pending.plan }
}

/** All that follows `place`: what the step wrote down itself is the plan. */
export function judgeLater(
  known: ProductState | undefined,
  ask: Exclude<Ask, 'prepare' | 'place'>,
  release: Which,
): Judged {
  const pending = same(known?.pending?.release, release) ? known?.pending : undefined
  const isHealthy = same(known?.last, release) && known?.last?.outcome === 'healthy'
  switch (ask) {
    case 'activate':
      return pending === undefined || pending.at === 'placing'
        ? refuse('it has not been proven in its slot')
        : { tag: 'go', plan: pending.plan }
    case 'check':
      if (isHealthy) return { tag: 'done' }
      return pending?.at === 'switched'
        ? { tag: 'go', plan: pending.plan }
        : refuse('it has not been switched to')
    case 'restore':
      if (pending !== undefined) return { tag: 'go', plan: pending.plan }
      // Nothing of this release was begun, or it was undone already: what runs is what ran.
      return isHealthy ? refuse('it is installed and healthy, and stays') : { tag: 'done' }
    default:
      return ask satisfies never
  }
}

/** What is written down before anything is moved. */
export const begun = (known: ProductState, release: Release, plan: Plan): ProductState => ({
  ...known,
  pending: { release, plan, at: 'placing' },
})

/** What is written down once `ask` went well. */
export function went(known: ProductState, ask: Exclude<Ask, 'prepare'>, release: Release): ProductState {
  const { pending, ...rest } = known
  const { path, sha256, version } = release
  switch (ask) {
    case 'place':
      return pending ? { ...known, pending: { ...pending, at: 'placed' } } : known
    case 'activate':
      return pending ? { ...known, pending: { ...pending, at: 'switched' } } : known
    case 'check':
      return { ...rest, installed: { path, sha256, version }, last: { path, sha256, outcome: 'healthy' } }
    case 'restore':
      return { ...rest, last: { path, sha256, outcome: 'restored' } }
    default:
      return ask satisfies never
  }
}
