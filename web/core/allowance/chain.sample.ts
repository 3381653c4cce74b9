/**
 * For tests: allowances cut from one another over a wallet, with a network that loses, repeats and delays, processes
 * that die between any two effects, and a judge that keeps books of its own. Layer 0 is cut from the wallet. The wallet
 * is dumb: it pays whatever it is asked to as often as it is asked, so paying once is the machines' doing.
 */
import { fromHex, sha256Hex, type Sha256Hex } from '../bytes.ts'
import { msat, type Msat } from '../money/msat.ts'
import { periodStart } from '../wallet/budget.ts'
import type { Renewal } from '../wallet/nip47.ts'
import { step, type AllowanceEffect, type AllowanceEvent, type Found } from './allowance.ts'
import { newAllowance, reservedOf, type Allowance, type Payment } from './state.ts'

export const LIFE_MS = 5_000
const MAX_FEE = msat(1)
const START_MS = Date.UTC(2026, 10, 21, 9, 50)

export type Op =
  | { tag: 'ask'; layer: number; invoice: number }
  | { tag: 'again'; request: number }
  | { tag: 'deliver' | 'lose' | 'repeat'; message: number }
  | { tag: 'die'; layer: number; afterEffects: number }
  | { tag: 'wake'; layer: number }
  | { tag: 'limit'; layer: number; limit: number }
  | { tag: 'top-up'; layer: number; amount: number }
  | { tag: 'pause'; layer: number; paused: boolean }
  | { tag: 'wait'; ms: number }
  | { tag: 'give-up'; layer: number; invoice: number }
  | { tag: 'decide'; invoice: number; pay: boolean }
  | { tag: 'show'; layer: number; invoice: number }

type Ask = { tag: 'pay'; hash: Sha256Hex; amount: Msat; request: string; deadAtMs: number }
type Message =
  | ({ to: number; from: number } & (Ask | { tag: 'look-up'; hash: Sha256Hex }))
  | { to: number; from: number; tag: 'said'; event: AllowanceEvent }

type Layer = {
  memory: Allowance | undefined
  disk: Allowance
  archive: Map<string, Payment>
  refused: Map<string, { hash: Sha256Hex; code: string }>
  /** Effects left before it dies. */
  fuel: number
  /** The judge's: what it let pass, by its own reckoning. */
  books: Map<string, { stake: number; period: number; state: 'open' | 'paid' | 'failed'; passed: number }>
}

const WALLET = -1
const HOLDER = 99

export class Chain {
  readonly layers: Layer[]
  readonly messages: Message[] = []
  /** The wallet's: each request that it executed. */
  readonly executed = new Map<string, { hash: Sha256Hex; state: 'locked' | 'paid' | 'failed' }>()
  readonly complaints: string[] = []
  nowMs = START_MS
  readonly #renewal: Renewal
  readonly #asked: { layer: number; ask: Ask }[] = []
  #serial = 0

  constructor(limits: readonly number[], renewal: Renewal) {
    this.#renewal = renewal
    this.layers = limits.map((limit) => {
      const terms = {
        ...{ name: 'a', limit: msat(limit), renewal, paused: false, revoked: false },
        may: { pay: true, receive: true },
      }
      const fresh = newAllowance(terms, this.nowMs)
      return {
        ...{ memory: fresh, disk: fresh, archive: new Map(), refused: new Map(), fuel: Infinity },
        books: new Map(),
      }
    })
  }

  run(op: Op): void {
    switch (op.tag) {
      case 'ask': {
        const layer = op.layer % this.layers.length
        const hash = hashOf(op.invoice * this.layers.length + layer)
        const amount = msat((op.invoice % 5) + 1)
        const ask: Ask = {
          tag: 'pay',
          hash,
          amount,
          request: `h${this.#serial++}`,
          deadAtMs: this.nowMs + LIFE_MS,
        }
        this.#asked.push({ layer, ask })
        this.messages.push({ to: layer, from: HOLDER, ...ask })
        return
      }
      case 'again': {
        const before = this.#asked[op.request % Math.max(1, this.#asked.length)]
        if (before) this.messages.push({ to: before.layer, from: HOLDER, ...before.ask })
        return
      }
      case 'deliver':
      case 'lose':
      case 'repeat': {
        if (this.messages.length === 0) return
        const at = op.message % this.messages.length
        const message = this.messages[at]
        if (op.tag !== 'repeat') this.messages.splice(at, 1)
        if (op.tag !== 'lose' && message) this.#deliver(message)
        return
      }
      case 'die': {
        const layer = this.#layer(op.layer)
        if (op.afterEffects === 0) layer.memory = undefined
        else layer.fuel = op.afterEffects
        return
      }
      case 'wake':
        return this.wake(op.layer % this.layers.length)
      case 'limit':
        return this.tell(op.layer, { tag: 'terms-set', change: { limit: msat(op.limit) } })
      case 'top-up':
        return this.tell(op.layer, { tag: 'topped-up', amount: msat(op.amount) })
      case 'pause':
        return this.tell(op.layer, { tag: 'terms-set', change: { paused: op.paused } })
      case 'wait':
        this.nowMs += op.ms
        for (let at = 0; at < this.layers.length; at++) this.tell(at, { tag: 'ticked' })
        return
      case 'give-up': {
        const open = [...(this.#layer(op.layer).memory?.open.keys() ?? [])]
        const paymentHash = open[op.invoice % Math.max(1, open.length)]
        if (paymentHash) this.tell(op.layer, { tag: 'source-silent', paymentHash, why: 'no answer' })
        return
      }
      case 'decide': {
        const locked = [...this.executed.values()].filter(({ state }) => state === 'locked')
        const one = locked[op.invoice % Math.max(1, locked.length)]
        if (one) one.state = op.pay ? 'paid' : 'failed'
        return
      }
      case 'show': {
        const paid = [...this.executed.values()].filter(({ state }) => state === 'paid')
        const one = paid[op.invoice % Math.max(1, paid.length)]
        if (one) this.tell(op.layer, { tag: 'preimage-shown', preimage: preimages.get(one.hash) ?? '' })
        return
      }
    }
  }

  /** Everybody is up, nothing is lost any more, every lock is decided: nothing may stay open. */
  heal(): void {
    for (const layer of this.layers) layer.fuel = Infinity
    for (let round = 0; round < 40; round++) {
      for (let at = 0; at < this.layers.length; at++) this.wake(at)
      for (const one of this.executed.values()) if (one.state === 'locked') one.state = 'paid'
      while (this.messages.length > 0) this.#deliver(this.messages.shift() as Message)
      const open = this.layers.flatMap((layer, at) =>
        [...(layer.memory?.open.values() ?? [])].map((payment) => ({ at, payment })),
      )
      if (open.length === 0) return
      for (const { at, payment } of open)
        if (payment.fate.tag === 'asked')
          this.tell(at, { tag: 'source-silent', paymentHash: payment.paymentHash, why: 'no answer' })
      this.nowMs += LIFE_MS
      for (let at = 0; at < this.layers.length; at++) this.tell(at, { tag: 'source-back' })
    }
    this.complaints.push('something stays open for ever')
  }

  /** What must hold at the end: every layer counted what passed through it, to the msat, and nothing else. */
  audit(): void {
    const paid = new Map<string, number>()
    for (const { hash, state } of this.executed.values())
      if (state === 'paid') paid.set(hash, (paid.get(hash) ?? 0) + 1)
    for (const [hash, times] of paid) if (times > 1) this.complaints.push(`${hash} was paid ${times} times`)
    this.layers.forEach(({ memory, archive, books }, at) => {
      if (!memory) return
      if (reservedOf(memory) !== 0) this.complaints.push(`layer ${at} keeps ${reservedOf(memory)} reserved`)
      let passed = 0
      for (const [hash, book] of books) {
        const { fate } = archive.get(hash) ?? {}
        if (paid.has(hash) !== (fate?.tag === 'paid'))
          this.complaints.push(
            `layer ${at}: ${hash} is ${fate?.tag} and the wallet paid ${paid.get(hash) ?? 0}`,
          )
        if (fate?.tag === 'paid') passed += amountOf(archive.get(hash)) + fate.fees
        book.state = fate?.tag === 'paid' ? 'paid' : 'failed'
      }
      if (memory.totalSpent !== passed)
        this.complaints.push(`layer ${at} counted ${memory.totalSpent}, ${passed} passed`)
      if (memory.spent > memory.totalSpent) this.complaints.push(`layer ${at}: a period above the total`)
    })
  }

  tell(at: number, event: AllowanceEvent): void {
    const layer = this.#layer(at)
    const { memory } = layer
    if (!memory) return
    const { state, effects } = step(memory, event, this.nowMs)
    layer.memory = state
    for (const effect of effects) {
      if (layer.fuel-- <= 0) {
        layer.memory = undefined
        layer.fuel = Infinity
        return
      }
      this.#perform(at % this.layers.length, layer, effect)
    }
  }

  wake(at: number): void {
    const layer = this.#layer(at)
    if (layer.memory) return
    layer.memory = layer.disk
    this.tell(at, { tag: 'woken' })
  }

  #layer = (at: number): Layer => this.layers[at % this.layers.length] as Layer

  #perform(at: number, layer: Layer, effect: AllowanceEffect): void {
    switch (effect.tag) {
      case 'save':
        layer.disk = layer.memory as Allowance
        return
      case 'archive':
        layer.archive.set(effect.payment.paymentHash, effect.payment)
        return this.#book(layer, effect.payment)
      case 'pay': {
        const { paymentHash: hash, amount, deadAtMs, attempt } = effect.payment
        this.#judgeStart(at, layer, effect.payment)
        const request = `${at}/${hash}/${attempt}`
        this.messages.push({ to: at - 1, from: at, tag: 'pay', hash, amount, request, deadAtMs })
        return
      }
      case 'look-up':
        this.messages.push({ to: at - 1, from: at, tag: 'look-up', hash: effect.paymentHash })
        return
      case 'refuse': {
        const child = childOf(effect.request)
        const hash = hashIn(effect.request)
        if (hash) layer.refused.set(effect.request, { hash, code: effect.code })
        if (child !== undefined && hash)
          this.messages.push({ to: child, from: at, tag: 'said', event: refusal(hash, effect.message) })
        return
      }
      case 'answer': {
        const child = childOf(effect.request)
        const { fate, paymentHash } = effect.payment
        if (child === undefined) return
        if (fate.tag === 'paid')
          this.messages.push({
            to: child,
            from: at,
            tag: 'said',
            event: { ...fate, paymentHash, tag: 'source-paid' },
          })
        // An answer to an attempt that failed before says nothing of one that follows it.
        else if (effect.request === `${child}/${paymentHash}/${this.#attempt(child, paymentHash)}`)
          this.messages.push({ to: child, from: at, tag: 'said', event: refusal(paymentHash, 'failed') })
        return
      }
      case 'tell-paid':
        return
    }
  }

  #attempt = (at: number, hash: Sha256Hex): number => this.#layer(at).memory?.open.get(hash)?.attempt ?? 0

  #deliver(message: Message): void {
    if (message.to === WALLET) return this.#wallet(message)
    if (message.to === HOLDER) return
    const layer = this.#layer(message.to)
    if (!layer.memory) return
    if (message.tag === 'said') {
      const { event } = message
      const earlier = 'paymentHash' in event ? layer.archive.get(event.paymentHash) : undefined
      return this.tell(message.to, event.tag === 'source-paid' ? { ...event, earlier } : event)
    }
    if (message.tag === 'look-up') {
      const payment = layer.memory.open.get(message.hash) ?? layer.archive.get(message.hash)
      return this.#say(message, { tag: 'looked-up', paymentHash: message.hash, found: foundOf(payment) })
    }
    if (this.nowMs >= message.deadAtMs || layer.refused.has(message.request)) return
    const { hash, amount, request } = message
    const pay = {
      ...{ request, bolt11: hash, paymentHash: hash, amount, ownAmount: false, description: '' },
      ...{ expiresAtMs: Infinity, maxFee: MAX_FEE, deadAtMs: this.nowMs + LIFE_MS },
    }
    this.tell(message.to, { tag: 'pay-asked', pay, earlier: layer.archive.get(hash) })
  }

  #say(message: Message, event: AllowanceEvent): void {
    if (message.from !== HOLDER)
      this.messages.push({ to: message.from, from: message.to, tag: 'said', event })
  }

  #wallet(message: Message): void {
    if (message.tag === 'said') return
    if (message.tag === 'look-up') {
      const known = [...this.executed.values()].filter(({ hash }) => hash === message.hash)
      const best =
        known.find(({ state }) => state === 'paid') ??
        known.find(({ state }) => state === 'locked') ??
        known[0]
      return this.#say(message, { tag: 'looked-up', paymentHash: message.hash, found: walletFound(best) })
    }
    if (this.nowMs >= message.deadAtMs) return
    const known = this.executed.get(message.request)
    if (!known) this.executed.set(message.request, { hash: message.hash, state: 'locked' })
    else if (known.state === 'paid')
      this.#say(message, {
        tag: 'source-paid',
        paymentHash: message.hash,
        preimage: preimages.get(message.hash) ?? '',
        fees: FEE,
      })
  }

  /** The judge: no payment starts above what the layer's limit leaves. */
  #judgeStart(at: number, layer: Layer, payment: Payment): void {
    const period = periodStart(this.#renewal, this.nowMs)
    const { terms, extra } = layer.memory as Allowance
    let used = payment.amount + payment.maxFee
    for (const book of layer.books.values()) {
      if (book.state === 'open') used += book.stake
      if (book.state === 'paid' && book.period === period) used += book.passed
    }
    if (used > terms.limit + extra) this.complaints.push(`layer ${at} starts above its limit: ${used}`)
    if (terms.paused) this.complaints.push(`layer ${at} pays while paused`)
    const running = layer.books.get(payment.paymentHash)
    if (running && running.state !== 'failed') this.complaints.push(`layer ${at} pays again`)
    const stake = payment.amount + payment.maxFee
    layer.books.set(payment.paymentHash, { stake, period, state: 'open', passed: 0 })
  }

  #book(layer: Layer, { paymentHash, fate, amount }: Payment): void {
    const book = layer.books.get(paymentHash)
    if (!book || fate.tag === 'asked' || fate.tag === 'unknown') return
    book.state = fate.tag
    if (fate.tag === 'paid') book.passed = amount + fate.fees
  }
}

const FEE = msat(1)
const preimages = new Map<string, string>()
function hashOf(n: number): Sha256Hex {
  const preimage = n.toString(16).padStart(64, '0')
  const hash = sha256Hex(fromHex(preimage))
  preimages.set(hash, preimage)
  return hash
}

const amountOf = (payment: Payment | undefined): number => payment?.amount ?? 0

function foundOf(payment: Payment | undefined): Found {
  if (payment === undefined) return { tag: 'nothing' }
  const { fate } = payment
  if (fate.tag === 'paid') return { tag: 'paid', preimage: fate.preimage, fees: fate.fees }
  return fate.tag === 'failed' ? { tag: 'failed' } : { tag: 'pending' }
}

function walletFound(known: { hash: Sha256Hex; state: 'locked' | 'paid' | 'failed' } | undefined): Found {
  if (known === undefined) return { tag: 'nothing' }
  if (known.state === 'paid') return { tag: 'paid', preimage: preimages.get(known.hash) ?? '', fees: FEE }
  return known.state === 'failed' ? { tag: 'failed' } : { tag: 'pending' }
}

const refusal = (paymentHash: Sha256Hex, message: string): AllowanceEvent => ({
  ...{ tag: 'source-refused', paymentHash, code: 'PAYMENT_FAILED', message },
})
/** Which layer asked; undefined for a holder. */
const childOf = (request: string): number | undefined =>
  request.startsWith('h') ? undefined : Number(request.split('/')[0])
const hashIn = (request: string): Sha256Hex | undefined => request.split('/')[1] as Sha256Hex | undefined
