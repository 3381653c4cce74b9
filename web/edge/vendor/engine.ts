/** What the parts of one vendor engine share; `vendor.ts` makes it. */
import type { VendorId } from '../../core/bytes.ts'
import type { Announcing } from './announcing.ts'
import type { VendorDeps } from './api.ts'
import type { Session } from './session.ts'
import type { Changed, TargetsDraft } from './signing.ts'
import type { Standing } from './standing.ts'

export type Engine = Readonly<{
  deps: VendorDeps
  standing: Standing
  announcing: Announcing
  /** Signings of this tab come one after the other. @throws VendorError `closed` */
  inTurn: <T>(run: () => Promise<T>) => Promise<T>
  /** @throws VendorError `closed`, `not-admitted` */
  need: () => Session & Readonly<{ vendor: VendorId }>
  /** Signs the next targets; what waits for others' signatures is watched. @throws VendorError */
  change: (
    run: (draft: TargetsDraft, base: Changed['verified']) => TargetsDraft,
    product?: string,
  ) => Promise<Changed>
  /** Something was published by others, or with their help: adopts it and tells of it, as far as the vendor's key may. */
  afterOthers: () => Promise<void>
}>
