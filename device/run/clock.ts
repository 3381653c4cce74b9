/**
 * What a wrong clock means. A board without a battery starts in 1970, or at the time of its image, until the network has
 * told it the time: that is no attack, and only waits. One that was right since this machine started and then stands
 * behind what the vendor has signed, or jumps back, was set back.
 */
import type { TextStore } from '../../web/edge/release/store.ts'

/** Where it was right last: the boot's id. */
const SYNCED = 'floor/synced-boot'
/** Corrections of a running clock are smaller. */
const JUMP_MS = 3_600_000

export type ClockSays =
  | Readonly<{ tag: 'right' }>
  /** Before what the vendor signed, and not known to have been right since the machine started. */
  | Readonly<{ tag: 'not-set' }>
  | Readonly<{ tag: 'set-back'; text: string }>

export interface Clock {
  /** `floorS`: the latest time that is known to have passed, Unix seconds. */
  judge(clockMs: number, floorS: number): Promise<ClockSays>
}

const dayOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/** `bootId`: the same until the machine starts again; `undefined` where the system does not say. */
export function createClock(store: TextStore, bootId: string | undefined): Clock {
  let wasRight: boolean | undefined
  let highestMs = -Infinity
  return {
    async judge(clockMs, floorS) {
      const known = bootId !== undefined && (await store.get(SYNCED).catch(() => undefined)) === bootId
      wasRight ??= known
      if (clockMs < floorS * 1000) {
        if (!wasRight) return { tag: 'not-set' }
        return {
          tag: 'set-back',
          text: `The clock stands at ${dayOf(clockMs)}, before what the vendor has signed at ${dayOf(floorS * 1000)}.`,
        }
      }
      wasRight = true
      if (!known && bootId !== undefined) await store.put(SYNCED, bootId).catch(() => undefined)
      const before = highestMs
      highestMs = clockMs < before - JUMP_MS ? clockMs : Math.max(before, clockMs)
      if (clockMs >= before - JUMP_MS) return { tag: 'right' }
      return { tag: 'set-back', text: `The clock went from ${dayOf(before)} back to ${dayOf(clockMs)}.` }
    },
  }
}
