/** The fine simulator: the product's real core, every message and every payment an event. */
import { drawPlan } from './plan.ts'
import { cheapPorts, realPorts } from './ports.ts'
import { Random } from './random.ts'
import type { Seen } from './trace.ts'
import { World, type Outcome } from './world.ts'

/** Up to here signatures, ciphers and frames are the product's own. */
export const REAL_UP_TO = 50

export type RunOptions = Readonly<{
  devices?: number | undefined
  /** Cheap signatures and ciphers in a small world too. */
  cheap?: boolean
  /** Hears every fact. */
  tap?: Seen
}>

export function runSeed(seed: number, options: RunOptions = {}): Outcome {
  const plan = drawPlan(seed, options.devices)
  const shape = { length: plan.length, pieceLength: plan.pieceLength }
  const buyers = plan.nodes.filter(({ buys }) => buys !== undefined).length
  const real = options.cheap !== true && buyers <= REAL_UP_TO
  const ports = real ? realPorts(shape, new Random(`release ${seed}`)) : cheapPorts(shape)
  return new World(plan, ports, `world ${seed}`, options.tap).run()
}
