/** What a seed draws: the release, the parties with their lines, wallets and policies, and the troubles that befall them. */
import type { BuyerPolicy } from '../../web/core/swarm/buyer.ts'
import { BUYER_DEFAULTS } from '../../web/core/swarm/buyer.ts'
import type { DeskPolicy } from '../../web/core/exchange/desk-policy.ts'
import type { WalletLine } from './bank.ts'
import type { Sabotage } from './buyer.ts'
import { moreVices, REFUSES_LATE, takings, vices, type Taking, type Vice } from './hostile.ts'
import type { NodeOptions } from './node.ts'
import { Random } from './random.ts'

type Plain<T> = { [K in keyof T]: T[K] extends number ? number : T[K] }

export type PlannedNode = NodeOptions &
  Readonly<{
    msat: number
    wallet: WalletLine
    arrivesMs: number
    /** `approved`: numbers of nodes. */
    buys:
      | (Omit<Plain<BuyerPolicy>, 'approved' | 'unprovenBudget'> & {
          approved: readonly number[]
          unprovenBudget: number
        })
      | undefined
    sells: (Omit<Plain<DeskPolicy>, 'approved'> & { approved: readonly number[] }) | undefined
    vice: Vice | undefined
    takes: Taking | undefined
    /** A new key at each start. */
    freshKeys: boolean
    /** Gone for good once the world heals. */
    leaves: boolean
    /** Liveness is demanded of it. */
    canFinish: boolean
    tickMs?: number
    sabotage?: Sabotage
  }>

export type Trouble = 'crash' | 'wire' | 'partition' | 'outage' | 'fresh key'

export type Plan = Readonly<{
  pieces: number
  pieceLength: number
  length: number
  nodes: readonly PlannedNode[]
  edges: readonly (readonly [number, number])[]
  troubles: Readonly<{ untilMs: number; everyMs: number; kinds: readonly Trouble[] }>
  /** From the end of the troubles until everybody who can must have finished. */
  healMs: number
}>

const KIB = 1024
const MIB = 1024 * KIB
export const CAP = 8000 // msat per MiB

const SLOW_BPS = 20 * KIB
/** Nothing comes through. */
export const ABSENT_BPS = 1

/** The same world, its buyers' budgets a twentieth above the dearest honest price of everything, and a msat a piece: fees are rounded up. */
export function tighten(plan: Plan): Plan {
  const prices = plan.nodes.flatMap(({ sells, vice, full }) => (full && !vice && sells ? [sells.price] : []))
  const budget = Math.ceil((1.05 * plan.length * Math.max(...prices)) / MIB) + plan.pieces
  const nodes = plan.nodes.map((node) =>
    node.buys === undefined ? node : { ...node, canFinish: false, buys: { ...node.buys, budget } },
  )
  return { ...plan, nodes }
}

/**
 * The same world with pieces of up to 1 MiB and what is measured in pieces grown with them, uplinks too; down lines as slow
 * as 20 KiB/s, takers that read slowly or not at all, and sellers of more vices. A draw of its own: seeds keep their worlds
 * without it.
 */
export function widen(plan: Plan, seed: number): Plan {
  const random = new Random(`wide ${seed}`)
  const pieceLength = Math.max(plan.pieceLength, random.pick([64 * KIB, 256 * KIB, MIB]))
  const by = pieceLength / plan.pieceLength
  const slow = (node: PlannedNode, downBps: number): PlannedNode => ({
    ...node,
    line: { ...node.line, downBps: Math.min(node.line.downBps, downBps) },
  })
  const lateness = new Random(`late ${seed}`)
  const late = (vice: Vice | undefined): Vice | undefined =>
    vice === 'refuses' && lateness.chance(0.5) ? REFUSES_LATE : vice
  const nodes = plan.nodes.map((node): PlannedNode => {
    const { buys, sells, vice, takes } = node
    const grown: PlannedNode = {
      ...node,
      msat: node.msat * by,
      line: { ...node.line, upBps: node.line.upBps * by },
      buys: buys && {
        ...buys,
        budget: buys.budget * by,
        riskBudget: buys.riskBudget * by,
        unprovenBudget: buys.unprovenBudget * by,
        memoryBytes: buys.memoryBytes === 64 * MIB ? buys.memoryBytes : buys.memoryBytes * by,
      },
      sells: sells && {
        ...sells,
        unpaidBytes: sells.unpaidBytes * by,
        unprovenBytes: sells.unprovenBytes * by,
      },
      vice: late(vice && random.chance(0.4) ? random.pick(moreVices) : vice),
    }
    if (takes !== undefined) return slow(grown, random.pick([Infinity, SLOW_BPS, ABSENT_BPS]))
    return buys !== undefined && random.chance(0.3) ? slow(grown, SLOW_BPS) : grown
  })
  const length = plan.length + plan.pieces * (pieceLength - plan.pieceLength)
  return { ...plan, pieceLength, length, nodes }
}

/** A small world of 2 to 12 parties, or of about as many as are asked for. */
export function drawPlan(seed: number, devices?: number): Plan {
  const random = new Random(`plan ${seed}`)
  const pieceLength = random.pick([16, 16, 32, 64]) * KIB
  const pieces = random.whole(1, devices === undefined ? 16 : 24)
  const length = pieces * pieceLength - random.below(pieceLength - 1)
  const buyers = devices ?? random.whole(1, 4)
  const sellers = devices === undefined ? random.whole(1, 3) : Math.max(2, Math.round(devices / 8))
  const cheats = random.chance(0.6)
    ? random.whole(1, devices === undefined ? 3 : Math.max(3, devices >> 3))
    : 0
  const takers = random.chance(0.4) ? random.whole(1, 2) : 0
  const calm = random.chance(0.1)
  const settling = random.pick(['preimage', 'hold'] as const)
  const kind = {
    payMs: random.pick([5, 200, 1000, 3000, 8600]),
    askMs: random.scale(2, 200),
    fails: calm ? 0 : random.pick([0, 0.05, 0.3]),
    mute: calm ? 0 : random.pick([0, 0.02, 0.15]),
    hangs: calm ? 0 : random.pick([0, 0.02, 0.2]),
    hangMs: random.scale(10_000, 400_000),
    perSecond: random.pick([1000, 33, 2]),
    slots: random.pick([483, 16, 3]),
    feePpm: random.pick([0, 1000, 30_000]),
  }
  const wallet = (): WalletLine => ({
    ...kind,
    settling: random.chance(0.8) ? settling : random.pick(['preimage', 'hold']),
  })
  const crashes = calm ? 0 : random.pick([0, 0, 0.0005, 0.005])
  const lossy = calm ? 0 : random.pick([0, 0, 0.01, 0.1])
  const node = (): Omit<PlannedNode, 'role' | 'full'> => ({
    line: {
      upBps: random.scale(30 * KIB, 20 * MIB),
      downBps: random.scale(200 * KIB, 50 * MIB),
      delayMs: random.scale(0.5, 250),
      loss: lossy,
    },
    syncMs: random.scale(0.5, 60),
    crashes,
    msat: 0,
    wallet: wallet(),
    arrivesMs: random.chance(0.7) ? random.between(0, 2000) : random.between(0, 120_000),
    buys: undefined,
    sells: undefined,
    vice: undefined,
    takes: undefined,
    freshKeys: false,
    leaves: false,
    canFinish: false,
  })
  const onePiece = Math.ceil((pieceLength * CAP) / MIB)
  const nodes: PlannedNode[] = []
  const honest = Array.from({ length: sellers }, (_, i) => buyers + i)
  const friends = random.chance(0.7)
  for (let i = 0; i < buyers; i++) {
    const resells = random.chance(0.4)
    nodes.push({
      ...node(),
      role: 'device',
      full: false,
      // Some funds to spare: fees, and what cheats take.
      msat: 3 * (pieces + 8) * onePiece,
      canFinish: true,
      buys: {
        ...BUYER_DEFAULTS,
        priceCap: CAP,
        budget: 3 * (pieces + 8) * onePiece,
        riskBudget: random.whole(1, 8) * onePiece,
        unprovenBudget: random.whole(1, 6) * onePiece,
        lockedTimeoutMs: random.pick([5000, 20_000, 60_000]),
        approved: friends ? honest : [],
        prefer: random.pick(['cheapest', 'balanced', 'fastest'] as const),
        paymentSlots: random.pick([64, 8, 2, 1]),
        memoryBytes: random.pick([64 * MIB, pieceLength * 3]),
        resells,
      },
      sells: resells ? sellPolicy(random, [], 0) : undefined,
    })
  }
  const buyerNumbers = Array.from({ length: buyers }, (_, i) => i)
  for (let i = 0; i < sellers; i++) {
    const gifts = random.chance(0.1) ? pieces : 0
    nodes.push({
      ...node(),
      role: i === 0 && gifts > 0 ? 'vendor' : 'distributor',
      full: true,
      sells: sellPolicy(random, buyerNumbers, gifts),
    })
  }
  for (let i = 0; i < cheats; i++) {
    const vice = random.pick(vices)
    const made = node()
    nodes.push({
      ...made,
      role: 'distributor',
      full: true,
      wallet: { ...made.wallet, settling: vice === 'never settles' ? 'hold' : made.wallet.settling },
      sells: { ...sellPolicy(random, [], 0), price: random.whole(1, CAP) },
      vice,
      freshKeys: random.chance(0.4),
      leaves: random.chance(0.5),
    })
  }
  for (let i = 0; i < takers; i++)
    nodes.push({
      ...node(),
      role: 'device',
      full: false,
      msat: 1_000_000,
      takes: random.pick(takings),
      freshKeys: random.chance(0.5),
      leaves: random.chance(0.5),
    })
  const edges: [number, number][] = []
  const degree = devices === undefined ? nodes.length : Math.min(nodes.length, 30)
  for (let a = 0; a < nodes.length; a++)
    for (let b = a + 1; b < nodes.length; b++) {
      const near = b >= buyers && b < buyers + sellers
      if (near || random.chance(degree / nodes.length)) edges.push([a, b])
    }
  const kinds: Trouble[] = ['crash', 'wire', 'wire', 'partition', 'outage', 'fresh key']
  return {
    pieces,
    pieceLength,
    length,
    nodes,
    edges,
    troubles: {
      untilMs: calm ? 0 : random.between(20_000, 300_000),
      everyMs: random.scale(2000, 60_000),
      kinds: kinds.filter(() => random.chance(0.7)).concat('wire'),
    },
    healMs: 6 * 3600_000,
  }
}

function sellPolicy(
  random: Random,
  approved: readonly number[],
  gifts: number,
): NonNullable<PlannedNode['sells']> {
  return {
    price: random.whole(500, CAP),
    gifts: gifts > 0 ? { to: 'distributors', copies: 2 } : { to: 'nobody', copies: 0 },
    approved,
    unpaidBytes: random.pick([32 * MIB, 1 * MIB, 256 * KIB]),
    unprovenBytes: random.pick([16 * MIB, 512 * KIB, 128 * KIB]),
  }
}
