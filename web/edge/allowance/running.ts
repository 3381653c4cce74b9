/**
 * One allowance at work: steps its machine one event at a time, carries the effects out in order, and asks its source.
 * Whoever serves it (a Nostr key, an allowance above it in the same process) is a front.
 */
import { isHex32, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import {
  step,
  type AllowanceEffect,
  type AllowanceEvent,
  type Found,
  type PayRequest,
} from '../../core/allowance/allowance.ts'
import { leftOf, wakesAt, type Allowance, type Payment, type RequestId } from '../../core/allowance/state.ts'
import type { Msat } from '../../core/money/msat.ts'
import type { Nip47Code } from '../../core/wallet/nip47.ts'
import { WalletError, type Transaction, type WalletErrorCode, type WalletEvent } from '../wallet/wallet.ts'
import { AllowanceError } from './api.ts'
import type { Below } from './below.ts'
import { IncomingBook } from './incoming.ts'
import type { Answered, Meta, Records } from './records.ts'
import type { SourceWatch } from './source-watch.ts'

/** What a request is answered with (NIP-47). */
export type Response = { result: unknown } | { error: { code: Nip47Code; message: string } }

export interface Front {
  answered(request: RequestId, response: Response): void
  told(event: WalletEvent): void
  /** Limit, state or balance may be others now. */
  changed(): void
  /** A payment that this front's holder asked for has no answer yet from above. */
  unknown(request: RequestId, why: string): void
  /** One that this front's holder cut, by its client key, may be another now. */
  belowChanged(client: PartyKey): void
}

export type RunningDeps = Readonly<{
  meta: Meta
  records: Records
  nowMs: () => number
  /** Another allowance of the same source pays this invoice, or has paid it. */
  claimed: (hash: Sha256Hex) => boolean
  onChange: () => void
  /** Absent at the deepest layer. */
  below: Below | undefined
  log: (event: string, detail: Readonly<Record<string, unknown>>) => void
}>

/** How long answers are remembered; older requests are refused by their time. */
export const ANSWER_MEMORY_MS = 4 * 60 * 60_000
const LONGEST_TIMER_MS = 60 * 60_000
/** The wallet behind an allowance that was just taken up answers in this time; requests wait for it. */
const OPENING_MS = 3000

export class Running {
  readonly meta: Meta
  readonly fronts = new Set<Front>()
  /** Decided payments, by hash. */
  readonly past: Map<Sha256Hex, Payment>
  readonly answers: Map<RequestId, Answered>
  readonly incoming: IncomingBook
  readonly #deps: RunningDeps
  #state: Allowance
  #tail: Promise<unknown> = Promise.resolve()
  #source: SourceWatch | undefined
  /** Ends when the wallet behind it has said what it can do, or has had its time. */
  readonly #opening = Promise.withResolvers<void>()
  readonly #openingTimer: ReturnType<typeof setTimeout>
  #unwatch: (() => void)[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopped = false
  /** The medium's, shown until a write succeeds. */
  trouble: string | undefined

  private constructor(
    deps: RunningDeps,
    state: Allowance,
    past: Map<Sha256Hex, Payment>,
    answers: Map<RequestId, Answered>,
    incoming: IncomingBook,
  ) {
    this.#deps = deps
    this.meta = deps.meta
    this.#state = state
    this.past = past
    this.answers = answers
    this.incoming = incoming
    this.#openingTimer = setTimeout(() => this.#opening.resolve(), OPENING_MS)
  }

  /** Reads what was left; nothing is asked of anybody yet. */
  static async load(deps: RunningDeps, state: Allowance): Promise<Running> {
    const { records, meta, nowMs } = deps
    const answers = await records.answers(meta.id)
    for (const [request, { at }] of answers) {
      if (at > nowMs() - ANSWER_MEMORY_MS) continue
      answers.delete(request)
      await records.dropAnswer(meta.id, request)
    }
    const incoming = new IncomingBook(await records.incoming(meta.id), (invoice) =>
      records.saveIncoming(meta.id, invoice),
    )
    const past = [...(await records.past(meta.id))].sort(([, a], [, b]) => endOf(a) - endOf(b))
    return new Running(deps, state, new Map(past), answers, incoming)
  }

  get state(): Allowance {
    return this.#state
  }
  get source(): SourceWatch | undefined {
    return this.#source
  }
  /** What its holder may cut from it. */
  get below(): Below | undefined {
    return this.#deps.below
  }
  get nowMs(): number {
    return this.#deps.nowMs()
  }
  /** An allowance that was just taken up, by another tab too, knows nothing yet of the wallet behind it. */
  opened(): Promise<void> {
    return this.#opening.promise
  }

  /** What could be paid now; undefined while the source has not said. */
  available(): Msat | undefined {
    const left = leftOf(this.#state, this.nowMs)
    const above = this.#source?.state.get().left
    if (above === undefined) return undefined
    return above < left ? above : left
  }

  /** The source has opened, or another one took its place; whatever was on its way is looked up there. */
  useSource(source: SourceWatch | undefined): void {
    if (source === this.#source) return
    for (const end of this.#unwatch.splice(0)) end()
    this.#source = source
    if (source === undefined) return this.#changed()
    this.#unwatch = [
      source.on((event) => this.#onSource(event)),
      source.state.subscribe(({ info }) => {
        if (info) this.#opening.resolve()
        this.#changed()
      }),
    ]
    void this.#quietly(this.tell({ tag: 'woken' }))
  }

  /** Resolves when the event is on the medium and in force. @throws AllowanceError `storage` */
  tell(event: AllowanceEvent): Promise<void> {
    return this.inTurn(() => this.#step(event))
  }

  /** Runs when everything before has been stepped and written. */
  inTurn<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(run)
    this.#tail = done.catch(() => undefined)
    return done
  }

  /** The answer comes through `Front.answered`, when it is known. */
  pay(pay: PayRequest): Promise<void> {
    return this.inTurn(async () => {
      const known = this.answers.get(pay.request)
      if (known) return this.#answer(pay.request, JSON.parse(known.response) as Response)
      const running = this.#state.open.has(pay.paymentHash)
      if (!running && this.#deps.claimed(pay.paymentHash))
        return this.refuse(
          pay.request,
          'PAYMENT_FAILED',
          'Another allowance pays this invoice, or has paid it.',
        )
      if (!running && !this.#source)
        return this.refuse(
          pay.request,
          'INTERNAL',
          'The wallet behind this allowance is not open; nothing was paid.',
        )
      const earlier = this.past.get(pay.paymentHash)
      try {
        await this.#step({ tag: 'pay-asked', pay, earlier })
      } catch (error) {
        const message = `The wallet could not write the payment down, so nothing was paid. ${wordsOf(error)}`
        this.#answer(pay.request, { error: { code: 'INTERNAL', message } })
      }
    })
  }

  /** Remembers the answer to a request that changed something, then gives it. */
  async remember(request: RequestId, response: Response): Promise<void> {
    if (!isHex32(request)) return
    const answered = { at: this.nowMs, response: JSON.stringify(response) }
    this.answers.set(request, answered)
    await this.#deps.records.saveAnswer(this.meta.id, request, answered)
    for (const [oldest, { at }] of this.answers) {
      if (at > this.nowMs - ANSWER_MEMORY_MS) break
      this.answers.delete(oldest)
      await this.#deps.records.dropAnswer(this.meta.id, oldest)
    }
  }

  async refuse(request: RequestId, code: Nip47Code, message: string): Promise<void> {
    const response: Response = { error: { code, message } }
    await this.#quietly(this.remember(request, response))
    this.#answer(request, response)
  }

  stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#openingTimer)
    this.#opening.resolve()
    for (const end of this.#unwatch.splice(0)) end()
    return this.inTurn(() => Promise.resolve())
  }

  async #step(event: AllowanceEvent): Promise<void> {
    if (this.#stopped) throw new AllowanceError('no-answer', 'This allowance has been closed; try again.')
    const before = this.#state
    const { state, effects } = step(before, event, this.nowMs)
    this.#state = state
    const ended = effects.flatMap((effect) => (effect.tag === 'archive' ? [effect.payment] : []))
    // What is no longer open stands here while it is written, so that nobody who looks misses it.
    for (const payment of ended) this.#keepPast(payment)
    try {
      for (const effect of effects) await this.#perform(effect)
      this.trouble = undefined
      // Wallets tell what was paid, not what came back.
      if (ended.some(({ fate }) => fate.tag === 'failed')) this.#source?.refresh()
    } catch (error) {
      // Only writing throws, and it comes first: nothing was asked of anybody.
      this.trouble = `This allowance cannot write to its storage. ${wordsOf(error)}`
      this.#state = undecided(before, event, this.nowMs)
      throw new AllowanceError('storage', this.trouble, { cause: error })
    } finally {
      this.#plan()
      this.#changed()
    }
  }

  #keepPast(payment: Payment): void {
    this.past.delete(payment.paymentHash) // the latest stands last
    this.past.set(payment.paymentHash, payment)
  }

  async #perform(effect: AllowanceEffect): Promise<void> {
    const { records } = this.#deps
    switch (effect.tag) {
      case 'save':
        return records.save(this.meta, this.#state)
      case 'archive':
        return records.archive(this.meta.id, effect.payment)
      case 'pay':
        return void this.#askSource(effect.payment)
      case 'look-up':
        return void this.#lookUp(effect.paymentHash)
      case 'answer':
        return this.#answer(effect.request, responseOf(effect.payment))
      case 'refuse':
        return this.refuse(effect.request, effect.code, effect.message)
      case 'tell-paid': {
        const transaction = toTransaction(effect.payment)
        for (const front of [...this.fronts]) front.told({ tag: 'sent', transaction })
        return
      }
      default:
        return effect satisfies never
    }
  }

  async #askSource({ paymentHash, bolt11, amount, ownAmount }: Payment): Promise<void> {
    const wallet = this.#source?.wallet
    const event = await (async (): Promise<AllowanceEvent> => {
      if (!wallet)
        return {
          ...{ tag: 'source-refused', paymentHash, code: 'INTERNAL' },
          message: 'The wallet behind this allowance was closed; nothing was paid.',
        }
      const result = await wallet.pay(bolt11, ownAmount ? { amount } : {})
      if (result.tag === 'paid') return { ...result, tag: 'source-paid', paymentHash }
      if (result.tag === 'unknown') return { tag: 'source-silent', paymentHash, why: result.message }
      return { tag: 'source-refused', paymentHash, code: codeOf(result.code), message: result.message }
    })().catch((error: unknown): AllowanceEvent => ({
      tag: 'source-silent',
      paymentHash,
      why: wordsOf(error),
    }))
    const waiting = this.#state.open.get(paymentHash)?.requests ?? []
    await this.#quietly(this.tell(event))
    if (event.tag === 'source-silent')
      for (const front of [...this.fronts]) for (const request of waiting) front.unknown(request, event.why)
  }

  async #lookUp(paymentHash: Sha256Hex): Promise<void> {
    const found = await this.#find(paymentHash).catch((error: unknown): Found => ({
      tag: 'no-answer',
      why: wordsOf(error),
    }))
    await this.#quietly(this.tell({ tag: 'looked-up', paymentHash, found }))
  }

  async #find(paymentHash: Sha256Hex): Promise<Found> {
    const wallet = this.#source?.wallet
    if (!wallet) return { tag: 'no-answer', why: 'The wallet behind this allowance is not open.' }
    const found = await wallet.lookUp(paymentHash)
    if (found?.direction !== 'out') return { tag: 'nothing' }
    if (found.state === 'failed' || found.state === 'expired') return { tag: 'failed' }
    if (found.state !== 'settled' || found.preimage === undefined) return { tag: 'pending' }
    return { tag: 'paid', preimage: found.preimage, fees: found.fees }
  }

  #onSource(event: WalletEvent | { tag: 'back' }): void {
    if (event.tag === 'back') {
      const { open } = this.#state
      if ([...open.values()].some(({ fate }) => fate.tag === 'unknown'))
        void this.#quietly(this.tell({ tag: 'source-back' }))
      return
    }
    const { paymentHash, preimage, fees } = event.transaction
    if (event.tag === 'sent') {
      const earlier = (): Payment | undefined => this.past.get(paymentHash)
      if (preimage === undefined) return
      if (!this.#state.open.has(paymentHash) && earlier()?.fate.tag !== 'failed') return
      // What is known of it when its turn comes: it may be told twice.
      const paid = { tag: 'source-paid', paymentHash, preimage, fees } as const
      void this.#quietly(this.inTurn(() => this.#step({ ...paid, earlier: earlier() })))
      return
    }
    void this.#quietly(
      this.inTurn(async () => {
        if (!(await this.incoming.onEvent(event))) return
        for (const front of [...this.fronts]) front.told(event)
        this.#changed()
      }),
    )
  }

  #answer(request: RequestId, response: Response): void {
    for (const front of [...this.fronts]) front.answered(request, response)
  }

  #changed(): void {
    for (const front of [...this.fronts]) front.changed()
    this.#deps.onChange()
  }

  #plan(): void {
    clearTimeout(this.#timer)
    const at = wakesAt(this.#state, this.nowMs)
    if (at === undefined || this.#stopped) return
    const waitMs = Math.min(Math.max(at - this.nowMs, 1), LONGEST_TIMER_MS)
    this.#timer = setTimeout(() => void this.#quietly(this.tell({ tag: 'ticked' })), waitMs)
  }

  #quietly = (job: Promise<void>): Promise<void> =>
    job.catch((error: unknown) => this.#deps.log('allowance', { id: this.meta.id, error: wordsOf(error) }))
}

/** What was to be written was not: a payment with an outcome nobody could write down is looked up again. */
function undecided(before: Allowance, event: AllowanceEvent, nowMs: number): Allowance {
  if (!('paymentHash' in event)) return before
  const { paymentHash } = event
  const payment = before.open.get(paymentHash) ?? ('earlier' in event ? event.earlier : undefined)
  if (!payment) return before
  const why = 'Its outcome could not be written down.'
  const open = new Map([...before.open, [paymentHash, payment]])
  return step({ ...before, open }, { tag: 'source-silent', paymentHash, why }, nowMs).state
}

export function responseOf({ fate }: Payment): Response {
  if (fate.tag === 'paid') return { result: { preimage: fate.preimage, fees_paid: fate.fees } }
  if (fate.tag === 'failed') return { error: { code: fate.code, message: fate.message } }
  return { error: { code: 'INTERNAL', message: 'The payment is on its way; look it up.' } }
}

export const endOf = ({ fate, askedAtMs }: Payment): number => ('atMs' in fate ? fate.atMs : askedAtMs)

export function toTransaction({ fate, paymentHash, amount, description, askedAtMs }: Payment): Transaction {
  const open = fate.tag === 'asked' || fate.tag === 'unknown'
  return {
    ...{ direction: 'out', paymentHash, amount, createdAtMs: askedAtMs },
    state: open ? 'pending' : fate.tag === 'paid' ? 'settled' : 'failed',
    fees: fate.tag === 'paid' ? fate.fees : (0 as Msat),
    ...(fate.tag === 'paid' && { preimage: fate.preimage, settledAtMs: fate.atMs }),
    ...(description !== '' && { description }),
  }
}

const CODES: Readonly<Partial<Record<WalletErrorCode, Nip47Code>>> = {
  'rate-limited': 'RATE_LIMITED',
  'not-implemented': 'NOT_IMPLEMENTED',
  'insufficient-balance': 'INSUFFICIENT_BALANCE',
  'quota-exceeded': 'QUOTA_EXCEEDED',
  restricted: 'RESTRICTED',
  // The holder's own connection stands: it is the one above that does not.
  unauthorized: 'RESTRICTED',
  'payment-failed': 'PAYMENT_FAILED',
  expired: 'PAYMENT_FAILED',
  'not-found': 'NOT_FOUND',
  unreachable: 'INTERNAL',
  internal: 'INTERNAL',
}
export const codeOf = (code: WalletErrorCode): Nip47Code => CODES[code] ?? 'OTHER'

export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** A source's refusal, as it is passed on. */
export const passOn = (error: unknown): Response =>
  error instanceof WalletError
    ? { error: { code: codeOf(error.code), message: error.message } }
    : { error: { code: 'INTERNAL', message: 'The wallet behind this allowance failed. Try again.' } }
