/**
 * Calm worlds that measure: a few full copies, many devices that resell, lines of one kind; how long until the last has
 * everything, against the fluid bound max(F/u_s, F/d_min, N·F/(u_s + Σu_i)).
 */
import { BUYER_DEFAULTS } from '../../web/core/swarm/buyer-policy.ts'
import { CAP, type Plan, type PlannedNode } from './plan.ts'
import { cheapPorts } from './ports-cheap.ts'
import { realPorts } from './ports-real.ts'
import { Random } from './random.ts'
import type { Seen } from './trace.ts'
import { World, type Outcome } from './world.ts'

export type SwarmTerms = Readonly<{
  devices: number
  /** Who has everything at the start. */
  copies: number
  fileBytes: number
  pieceLength: number
  upBps: number
  downBps: number
  /** One way. */
  delayMs: number
  paid: boolean
  paymentMs: number
  /** Peers that each knows, about. */
  degree: number
  seed: number
  tickMs?: number
  /** Signatures and ciphers: the product's own, or cheap ones. */
  real: boolean
}>

export type SwarmResult = Readonly<{
  outcome: Outcome
  /** Virtual seconds until the last device has everything. */
  lastS: number | undefined
  boundS: number
  ratio: number | undefined
  /** Real seconds that the run took. */
  seconds: number
}>

const MIB = 1024 * 1024

export function runSwarm(terms: SwarmTerms, tap?: Seen): SwarmResult {
  const startedMs = performance.now()
  const plan = planOf(terms)
  const shape = { length: plan.length, pieceLength: plan.pieceLength }
  const ports = terms.real ? realPorts(shape, new Random(`release ${terms.seed}`)) : cheapPorts(shape)
  const outcome = new World(plan, ports, `swarm ${terms.seed}`, tap).run()
  const { devices, copies, fileBytes, upBps, downBps } = terms
  const boundS = Math.max(
    fileBytes / (copies * upBps),
    fileBytes / downBps,
    (devices * fileBytes) / ((copies + devices) * upBps),
  )
  const { lastS } = outcome
  const ratio = lastS === undefined ? undefined : lastS / boundS
  return { outcome, lastS, boundS, ratio, seconds: (performance.now() - startedMs) / 1000 }
}

/** The bench's swarm: eight devices and one with the file, uplinks of 1 MB/s. */
export function simSwarm(
  terms: Readonly<{ fileBytes: number; paid: boolean; pieceLength?: number; upBps?: number; seed?: number }>,
  tap?: Seen,
): SwarmResult {
  const { fileBytes, paid, pieceLength = 256 * 1024, upBps = 1_000_000, seed = 1 } = terms
  const devices = 8
  return runSwarm(
    {
      devices,
      copies: 1,
      fileBytes,
      pieceLength,
      upBps,
      downBps: 100_000_000,
      delayMs: 1,
      paid,
      paymentMs: 10,
      degree: devices + 1,
      seed,
      real: false,
    },
    tap,
  )
}

/** Ten thousand devices and the like. */
export function simScale(devices: number, seed: number): SwarmResult {
  return runSwarm({
    devices,
    copies: 4,
    fileBytes: 32 * MIB,
    pieceLength: MIB,
    upBps: MIB,
    downBps: 8 * MIB,
    delayMs: 20,
    paid: true,
    paymentMs: 1000,
    degree: 30,
    seed,
    tickMs: 1000,
    real: false,
  })
}

function planOf(terms: SwarmTerms): Plan {
  const { devices, copies, fileBytes, pieceLength, upBps, downBps, delayMs, paid, paymentMs } = terms
  const random = new Random(`swarm plan ${terms.seed}`)
  const price = paid ? 1000 : 0
  const funds = Math.ceil((4 * fileBytes * CAP) / MIB)
  const node: PlannedNode = {
    role: 'device',
    full: false,
    line: { upBps, downBps, delayMs, loss: 0 },
    syncMs: 2,
    crashes: 0,
    msat: funds,
    wallet: {
      payMs: paymentMs,
      askMs: 2,
      fails: 0,
      mute: 0,
      hangs: 0,
      hangMs: 0,
      perSecond: 1000,
      slots: 483,
      feePpm: 0,
      settling: 'preimage',
    },
    arrivesMs: 0,
    buys: undefined,
    sells: {
      price,
      gifts: { to: 'nobody', copies: 0 },
      approved: [],
      unpaidBytes: 32 * MIB,
      unprovenBytes: 32 * MIB,
    },
    vice: undefined,
    takes: undefined,
    freshKeys: false,
    leaves: false,
    canFinish: true,
    ...(terms.tickMs === undefined ? {} : { tickMs: terms.tickMs }),
  }
  const seller: PlannedNode = { ...node, role: 'distributor', full: true, canFinish: false }
  const approved = Array.from({ length: copies }, (_, i) => i)
  const buyer: PlannedNode = {
    ...node,
    buys: {
      ...BUYER_DEFAULTS,
      resells: true,
      priceCap: CAP,
      budget: funds,
      riskBudget: Math.ceil((8 * MIB * CAP) / MIB),
      unprovenBudget: Math.ceil((16 * MIB * CAP) / MIB),
      lockedTimeoutMs: 60_000,
      approved,
    },
  }
  const count = copies + devices
  const nodes = Array.from({ length: count }, (_, i) =>
    i < copies ? seller : { ...buyer, arrivesMs: random.between(0, 200) },
  )
  return {
    pieces: Math.ceil(fileBytes / pieceLength),
    pieceLength,
    length: fileBytes,
    nodes,
    edges: edgesOf(count, Math.min(count - 1, terms.degree), random),
    troubles: { untilMs: 0, everyMs: 0, kinds: [] },
    healMs: 24 * 3600_000,
  }
}

/** Everybody knows everybody, or each about `degree` others at random. */
function edgesOf(count: number, degree: number, random: Random): [number, number][] {
  const edges: [number, number][] = []
  if (degree >= count - 1) {
    for (let a = 0; a < count; a++) for (let b = a + 1; b < count; b++) edges.push([a, b])
    return edges
  }
  const known = new Set<number>()
  for (let a = 0; a < count; a++)
    for (let k = 0; k < degree / 2; k++) {
      const b = random.below(count)
      const name = Math.min(a, b) * count + Math.max(a, b)
      if (a === b || known.has(name)) continue
      known.add(name)
      edges.push([a, b])
    }
  return edges
}
