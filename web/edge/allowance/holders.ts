/** What holders cut from their allowances, for the keeper that runs all of them. */
import { MAX_LAYERS } from '../../core/allowance/state.ts'
import type { PartyKey } from '../../core/bytes.ts'
import { AllowanceError, type AllowanceId, type AllowanceKeeper, type NewAllowance } from './api.ts'
import type { Below, CutOff } from './below.ts'
import type { Meta } from './records.ts'
import type { Running } from './running.ts'

/** So that no holder fills its owner's list; ended ones count until the owner removes them. */
export const MAX_CUT_OFF = 20

export type HoldersDeps = Readonly<{
  keeper: Pick<AllowanceKeeper, 'setLimit' | 'pause' | 'resume' | 'change' | 'revoke'>
  /** Those that run here and were cut from it, by whomever. */
  children(id: AllowanceId): readonly Running[]
  running(id: AllowanceId): Running | undefined
  /** Makes and serves one for the holder's key. @throws AllowanceError */
  make(wanted: NewAllowance, client: PartyKey): Promise<Meta>
  /** Of what would be cut from it. */
  depthBelow(meta: Meta): number
}>

export interface Holders {
  /** Absent at the deepest layer. */
  below(above: Meta): Below | undefined
  /** It may be another now: those above who cut it are told. */
  changed(meta: Meta): void
}

export function holdersOf(deps: HoldersDeps): Holders {
  const { keeper } = deps
  /** What the holder of `above` has cut, and all below that. */
  const cutOff = (above: Meta, all: boolean): CutOff[] =>
    deps
      .children(above.id)
      .filter(({ meta }) => all || meta.asked)
      .flatMap((running) => [{ running, parent: above.client }, ...cutOff(running.meta, true)])

  const cut = async (above: Meta, wanted: Parameters<Below['cut']>[0], client: PartyKey): Promise<Meta> => {
    const known = deps.children(above.id).find(({ meta }) => meta.client === client)
    if (known) return known.meta
    if (cutOff(above, false).length >= MAX_CUT_OFF)
      throw new AllowanceError(
        'bad-terms',
        `At most ${MAX_CUT_OFF} can be cut from one allowance by its holder.`,
      )
    return deps.make({ ...wanted, source: { tag: 'allowance', id: above.id }, home: 'here' }, client)
  }
  /** One after the other: what is being made stands in no list yet. */
  let last: Promise<unknown> = Promise.resolve()

  return {
    below(above) {
      if (deps.depthBelow(above) > MAX_LAYERS) return undefined
      return {
        cut(wanted, client) {
          const made = last.then(() => cut(above, wanted, client))
          last = made.catch(() => undefined)
          return made
        },
        list: () => cutOff(above, false),
        async change({ running }, { limit, paused, ...change }) {
          const { id } = running.meta
          if (limit !== undefined) await keeper.setLimit(id, limit)
          if (paused !== undefined) await (paused ? keeper.pause(id) : keeper.resume(id))
          await keeper.change(id, change)
        },
        revoke: ({ running }) => keeper.revoke(running.meta.id),
      }
    },
    changed({ client, source }) {
      for (let at = source; at.tag === 'allowance';) {
        const above = deps.running(at.id)
        if (!above) return
        for (const front of above.fronts) front.belowChanged(client)
        at = above.meta.source
      }
    },
  }
}
