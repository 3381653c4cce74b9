/** The fine simulator: the product's real core, every message and every payment an event. */
import { drawPlan, tighten, widen } from './plan.ts'
import { cheapPorts } from './ports-cheap.ts'
import { realPorts } from './ports-real.ts'
import { Random } from './random.ts'
import type { Seen } from './trace.ts'
import { World, type Outcome } from './world.ts'

/** What a lane's messages have on a slow line (`web/edge/swarm/lane.ts`). */
const SLOW_FRAME = 32 * 1024

/** Up to here signatures, ciphers and frames are the product's own. */
export const REAL_UP_TO = 50

export type RunOptions = Readonly<{
  devices?: number | undefined
  /** Cheap signatures and ciphers in a small world too. */
  cheap?: boolean
  /** With budgets that only just suffice. */
  tight?: boolean
  /** With large pieces, slow lines and more vices. */
  wide?: boolean
  /** Hears every fact. */
  tap?: Seen
}>

export function runSeed(seed: number, options: RunOptions = {}): Outcome {
  const drawn = drawPlan(seed, options.devices)
  const wide = options.wide === true ? widen(drawn, seed) : drawn
  const plan = options.tight === true ? tighten(wide) : wide
  const shape = { length: plan.length, pieceLength: plan.pieceLength }
  const buyers = plan.nodes.filter(({ buys }) => buys !== undefined).length
  const real = options.cheap !== true && buyers <= REAL_UP_TO
  const ports = real
    ? realPorts(shape, new Random(`release ${seed}`))
    : cheapPorts(shape, options.wide === true ? SLOW_FRAME : undefined)
  return new World(plan, ports, `world ${seed}`, options.tap).run()
}
