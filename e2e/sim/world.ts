/** A world made from a plan: its nodes, who knows whom, what breaks when; then two phases, chaos and healing. */
import { msat } from '../../web/core/money/msat.ts'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import { Bank } from './bank.ts'
import { BuyerPart } from './buyer.ts'
import { Clock } from './clock.ts'
import { Court, type Verdict } from './judges/court.ts'
import { Side } from './net.ts'
import { Node, type Things } from './node.ts'
import type { Ports } from './ports.ts'
import { Random } from './random.ts'
import { Digest, type NodeId, type Seen } from './trace.ts'
import type { Plan, PlannedNode } from './plan.ts'
import { partsOf } from './parts.ts'

/** 1 January 2027: quotes and offers have times in them. */
const START_MS = 1_798_761_600_000
const RECONNECT_MS = 2300
const RECONNECT_MOST_MS = 60_000

type Edge = {
  readonly a: Node
  readonly b: Node
  sides: [Side, Side] | undefined
  failures: number
  waiting: boolean
}

export type Outcome = Readonly<{
  verdicts: readonly Verdict[]
  digest: string
  facts: number
  events: number
  /** Virtual seconds from the start until the last honest buyer had everything; `undefined`: not all have. */
  lastS: number | undefined
  finished: number
  buyers: number
  crashes: number
  lateMsat: number
  lostMsat: number
  /** Virtual seconds from the start at which each honest buyer had everything. */
  doneS: ReadonlyMap<NodeId, number>
}>

export class World {
  readonly clock = new Clock(START_MS)
  readonly nodes: Node[] = []
  readonly bank: Bank
  readonly court: Court
  readonly #digest = new Digest()
  readonly #random: Random
  readonly #plan: Plan
  readonly #things: Things
  readonly #edges: Edge[] = []
  readonly #edgesOf = new Map<Node, Edge[]>()
  readonly #bySide = new Map<string, Edge>()
  readonly #doneS = new Map<NodeId, number>()
  #wires = 0
  #healed = false
  /** Nodes cut off from the others for now. */
  #island = new Set<Node>()

  constructor(plan: Plan, ports: Ports, seed: string, tap?: Seen) {
    this.#plan = plan
    this.#random = new Random(seed)
    const content = Array.from({ length: plan.pieces }, (_, piece) => ports.genuine(piece).slice())
    const see: Seen = (fact, atMs) => {
      this.#digest.see(fact, atMs)
      this.court.see(fact, atMs)
      tap?.(fact, atMs - START_MS)
      if (fact.t === 'complete') this.#doneS.set(fact.node, (atMs - START_MS) / 1000)
    }
    const parties = plan.nodes.map((_, i) => ports.party(this.#random.stream(`party ${i}`)))
    const keys = (numbers: readonly number[]): string[] => numbers.map((i) => parties[i]?.key ?? '')
    this.court = new Court({
      content,
      pieceLength: plan.pieceLength,
      buyers: new Map(
        plan.nodes.flatMap(({ buys, syncMs }, i) =>
          buys === undefined
            ? []
            : [[i, { ...buys, slots: buys.paymentSlots, approved: keys(buys.approved), syncMs }] as const],
        ),
      ),
      sellers: new Map(
        plan.nodes.flatMap(({ sells, vice }, i) =>
          sells === undefined || vice !== undefined
            ? []
            : [[i, { ...sells, approved: keys(sells.approved) }] as const],
        ),
      ),
    })
    this.bank = new Bank(this.clock, this.#random.stream('bank'), see)
    this.#things = {
      clock: this.clock,
      bank: this.bank,
      ports,
      see,
      accuse: (proof, by) => this.#accuse(proof, by),
    }
    const roles = new Map<string, Role>(plan.nodes.map(({ role }, i) => [parties[i]?.key ?? '', role]))
    for (const [i, planned] of plan.nodes.entries()) {
      const party = parties[i]
      if (party === undefined) throw new Error('unreachable: a party for each node')
      const node = new Node(i, party, planned, this.#things, this.#random.stream(`node ${i}`))
      this.bank.open(i, msat(planned.msat), planned.wallet)
      node.makeParts = (self) => partsOf(self, planned, keys, (key) => roles.get(key) ?? 'device')
      node.onCrash = () => this.#revive(node, planned)
      node.onGone = (side) => this.#lost(side)
      this.nodes.push(node)
      this.#edgesOf.set(node, [])
    }
    for (const [a, b] of plan.edges) this.#link(this.#node(a), this.#node(b))
  }

  #node(id: NodeId): Node {
    const node = this.nodes[id]
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  // Wires

  #link(a: Node, b: Node): void {
    const edge: Edge = { a, b, sides: undefined, failures: 0, waiting: false }
    this.#edges.push(edge)
    this.#edgesOf.get(a)?.push(edge)
    this.#edgesOf.get(b)?.push(edge)
  }

  /** Tries after a while, and again until it is there. */
  #meet(edge: Edge, afterMs: number): void {
    if (edge.waiting || edge.sides !== undefined) return
    edge.waiting = true
    this.clock.after(afterMs, () => {
      edge.waiting = false
      if (edge.sides !== undefined || !edge.a.life.alive || !edge.b.life.alive) return
      if (this.#island.has(edge.a) !== this.#island.has(edge.b)) return this.#meet(edge, RECONNECT_MS)
      const { a, b } = edge
      const id = ++this.#wires
      const mine = new Side(`${id}a`, a.port, b.party.key)
      const theirs = new Side(`${id}b`, b.port, a.party.key)
      mine.other = theirs
      theirs.other = mine
      a.port.sides.set(mine.id, mine)
      b.port.sides.set(theirs.id, theirs)
      edge.sides = [mine, theirs]
      this.#bySide.set(mine.id, edge).set(theirs.id, edge)
      a.joined(mine)
      b.joined(theirs)
    })
  }

  #lost(side: Side): void {
    const edge = this.#bySide.get(side.id)
    this.#bySide.delete(side.id)
    if (edge?.sides === undefined || edge.sides[0].open || edge.sides[1].open) return
    edge.sides = undefined
    const wait = Math.min(RECONNECT_MOST_MS, RECONNECT_MS * 2 ** Math.min(edge.failures++, 6))
    this.#meet(edge, wait * this.#random.between(0.7, 1.3))
  }

  #greet(node: Node): void {
    for (const edge of this.#edgesOf.get(node) ?? []) this.#meet(edge, this.#random.between(100, 1500))
  }

  // Proofs

  /** Everybody hears it, most of them soon; who checks it bans. */
  #accuse(proof: Bytes, by: NodeId): void {
    const seller = this.#things.ports.accused(proof)
    if (seller === undefined)
      return this.court.cry('proof', this.clock.nowMs, `the proof of ${by} does not hold`)
    for (const node of this.nodes) {
      if (node.id === by || (!this.#healed && this.#random.chance(0.3))) continue
      this.clock.after(this.#random.between(50, 3000), () => {
        if (!node.life.alive) return
        for (const part of node.parts) if (part instanceof BuyerPart) part.banned(seller)
      })
    }
  }

  // What breaks

  #revive(node: Node, planned: PlannedNode): void {
    if (this.#healed && planned.leaves) return
    this.clock.after(this.#random.between(500, 20_000), () => this.#start(node, planned))
  }

  #start(node: Node, planned: PlannedNode): void {
    if (node.life.alive || (this.#healed && planned.leaves)) return
    if (planned.freshKeys) node.party = this.#things.ports.party(node.random)
    node.start()
    this.#greet(node)
  }

  #break(): void {
    if (this.#healed) return
    const { troubles } = this.#plan
    this.clock.after(this.#random.between(0.2, 1.8) * troubles.everyMs, () => this.#break())
    switch (this.#random.pick(troubles.kinds)) {
      case 'crash':
        return this.#random.pick(this.nodes).crash()
      case 'wire': {
        const edge = this.#random.pick(this.#edges)
        const side = edge?.sides?.[this.#random.below(2)]
        if (side !== undefined) side.port.cut(side, this.#random.pick([0, 300, 25_000]))
        return
      }
      case 'partition': {
        if (this.#island.size > 0) return
        this.#island = new Set(this.nodes.filter(() => this.#random.chance(0.4)))
        for (const edge of this.#edges) {
          if (edge.sides === undefined || this.#island.has(edge.a) === this.#island.has(edge.b)) continue
          edge.sides[0].port.cut(edge.sides[0], this.#random.between(0, 30_000))
        }
        return this.clock.after(this.#random.between(1000, 60_000), () => (this.#island = new Set()))
      }
      case 'outage': {
        const node = this.#random.pick(this.nodes)
        return this.bank.outage(node.id, this.clock.nowMs + this.#random.between(1000, 90_000))
      }
      case 'fresh key': {
        const node = this.#random.pick(this.nodes)
        if (this.#plan.nodes[node.id]?.freshKeys === true) node.crash()
        return
      }
    }
  }

  // A run

  run(): Outcome {
    const { nodes, troubles, healMs } = this.#plan
    for (const [i, planned] of nodes.entries()) {
      const node = this.#node(i)
      node.chaos = troubles.untilMs > 0
      this.clock.after(planned.arrivesMs, () => this.#start(node, planned))
    }
    if (troubles.untilMs > 0) {
      this.#break()
      this.clock.run(START_MS + troubles.untilMs)
    }
    this.#heal()
    const honest = this.nodes.filter((_, i) => nodes[i]?.buys !== undefined)
    let next = 0
    const all = (): boolean => {
      while (next < honest.length && isSettled(honest[next] as Node)) next++
      return next === honest.length
    }
    this.clock.run(START_MS + troubles.untilMs + healMs, all)
    return this.#outcome(honest)
  }

  #heal(): void {
    this.#healed = true
    this.bank.healed = true
    this.#island = new Set()
    for (const [i, planned] of this.#plan.nodes.entries()) {
      const node = this.#node(i)
      node.chaos = false
      if (planned.leaves) node.crash()
      else if (!node.life.alive) this.clock.after(planned.arrivesMs + 1000, () => this.#start(node, planned))
      else this.#greet(node)
    }
  }

  #outcome(honest: readonly Node[]): Outcome {
    const { nowMs } = this.clock
    const finished = honest.filter(isSettled)
    for (const node of honest) {
      const part = buyerOf(node)
      if (part !== undefined && isSettled(node)) {
        const own = part.buyer.paid + part.buyer.fees
        const spent = this.court.buyer.spent(node.id)
        // A fee that no wallet named, or that was named to a life before, is in nobody's books.
        const named = part.buyer.feesOpen.size === 0 && node.crashCount === 0
        const wrong = named ? own !== spent : own > spent || part.buyer.paid > spent
        if (part.buyer.windows.size === 0 && wrong)
          this.court.cry('books', nowMs, `buyer ${node.id} books ${own} msat and spent ${spent}`)
      } else if (this.#plan.nodes[node.id]?.canFinish === true && this.court.buyer.mayBuy(node.id))
        this.court.cry(
          'liveness',
          nowMs,
          `buyer ${node.id} has ${part?.buyer.haveCount ?? 0} of ${this.#plan.pieces}: ${part?.why() ?? 'down'}`,
        )
    }
    this.court.audit(new Map([...this.bank.accounts].map(([id, { balance }]) => [id, balance])), nowMs)
    let [lateMsat, lostMsat, crashes] = [0, 0, 0]
    for (const node of this.nodes) {
      lateMsat += this.court.buyer.late(node.id)
      lostMsat += this.court.buyer.lost(node.id)
      crashes += node.crashCount
    }
    const done = [...this.#doneS.values()]
    return {
      verdicts: this.court.verdicts,
      digest: this.#digest.toString(),
      facts: this.#digest.facts,
      events: this.clock.events,
      lastS: finished.length === honest.length ? Math.max(...done) : undefined,
      finished: finished.length,
      buyers: honest.length,
      crashes,
      lateMsat,
      lostMsat,
      doneS: this.#doneS,
    }
  }
}

const buyerOf = (node: Node): BuyerPart | undefined => node.parts.find((part) => part instanceof BuyerPart)
const isSettled = (node: Node): boolean => buyerOf(node)?.settled ?? false
