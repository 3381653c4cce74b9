/**
 * The latest time that the vendor signed: a clock that stands before it is wrong. The floor falls with the keys that
 * signed it, which is the way out after a thief has signed a far future.
 */
import * as v from 'valibot'
import type { Sha256Hex } from '../bytes.ts'
import { sha256Hex, utf8 } from '../bytes.ts'
import { sha256HexSchema, type Release } from './target.ts'
import type { RootSigned } from './tuf.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
export const timeFloorSchema = v.object({
  /** Unix seconds. */
  floorS: count,
  /** Which targets keys signed it: a hash over their ids. */
  floorBy: v.optional(sha256HexSchema),
})
export type TimeFloor = v.InferOutput<typeof timeFloorSchema>

/** The top-level targets role's keys, as one text that two roots can be compared by. */
const signers = (root: RootSigned): Sha256Hex => sha256Hex(utf8([...root.roles.targets.keyids].sort().join()))

export const raisedBy = (
  floor: TimeFloor,
  root: RootSigned,
  releases: readonly Release[],
): Required<TimeFloor> => ({
  floorS: Math.max(floor.floorS, ...releases.map((release) => release.releasedAt)),
  floorBy: signers(root),
})

/** Whether `root` names other keys than those that signed the floor. */
export const isForeign = ({ floorBy }: TimeFloor, root: RootSigned): boolean =>
  floorBy !== undefined && signers(root) !== floorBy
