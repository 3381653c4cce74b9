/** One payment that a person makes: reads what was pasted, says what it may cost, pays, and never pays twice. */
import { decodeInvoice, explainRefusal, prefixOf } from '../../core/money/bolt11.ts'
import { msat, unitOf, type Money, type Msat } from '../../core/money/msat.ts'
import { feeReserve, largestPayment } from '../../core/wallet/fees.ts'
import { recognise, type Pasted } from '../../core/wallet/pasted.ts'
import { askAddress, askLnurl, invoiceFrom } from '../../edge/wallet/lightning-address.ts'
import { WalletError } from '../../edge/wallet/wallet.ts'
import { spendable } from '../../edge/wallets/watch.ts'
import { words, type Words } from '../errors.ts'
import { sats } from '../ui/format.ts'
import { parseSats } from './amount.ts'
import { wallets, type WalletRow } from './wallets.svelte.ts'
import { misplaced } from './words.ts'

export type SendState =
  | { tag: 'filling' }
  | { tag: 'paying' }
  | { tag: 'paid'; amount: Msat; fees: Msat; preimage: string }
  | { tag: 'failed'; trouble: Words }
  /** It may have gone out: looked up, never paid anew. */
  | { tag: 'unknown'; message: string; bolt11: string }

/** What will be paid. `bolt11` is absent where `address`, or its `lnurl`, is asked for one when the amount is known. */
type Target = Readonly<{
  bolt11?: string
  amount?: Msat
  description?: string
  expiresAtMs?: number
  address?: string
  lnurl?: string
}>
type Read = Readonly<{ target?: Target; fault?: string }>

const LOOK_AGAIN_MS = 3_000

export class Sending {
  text = $state('')
  amountText = $state('')
  state = $state.raw<SendState>({ tag: 'filling' })
  readonly #row: () => WalletRow & { tag: 'open' }
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(row: () => WalletRow & { tag: 'open' }) {
    this.#row = row
  }

  readonly #pasted = $derived(recognise(this.text))
  readonly money: Money = $derived.by(() => this.#row().view.info?.money ?? 'bitcoin')
  readonly #read = $derived(readTarget(this.#pasted, this.money))
  readonly target = $derived(this.#read.target)
  readonly fault = $derived(this.#read.fault)
  readonly asksAmount = $derived(this.target !== undefined && this.target.amount === undefined)
  readonly #typed = $derived(parseSats(this.amountText))
  readonly amount = $derived(this.target?.amount ?? this.#typed.amount)
  readonly reserve = $derived(this.amount === undefined ? msat(0) : feeReserve(this.amount, this.money))
  readonly most = $derived.by(() => {
    const all = spendable(this.#row().view)
    return all === undefined ? undefined : largestPayment(all, this.money)
  })
  readonly amountFault = $derived(this.amountText === '' ? undefined : this.#typed.fault)
  readonly amountHint = $derived(
    this.target?.address === undefined
      ? 'The invoice names no amount: you choose it.'
      : `${this.target.address} is asked for an invoice of this amount.`,
  )
  /** Why it cannot be paid now. */
  readonly blocked = $derived.by(() => {
    if (this.state.tag === 'unknown') return undefined
    if (!this.target) return this.fault ?? 'Paste or scan an invoice first.'
    return this.amount === undefined ? 'Say how much.' : undefined
  })
  /** The wallet decides; what it told before says that it will refuse. */
  readonly warning = $derived(
    this.amount !== undefined && this.most !== undefined && this.amount > this.most
      ? `More than this wallet can send now (${sats(this.most)} ${unitOf(this.money)}): it will refuse.`
      : undefined,
  )

  async pay(): Promise<void> {
    const before = this.state
    if (before.tag === 'paying' || this.blocked !== undefined) return
    const { target, amount } = this
    const wallet = wallets.wallet(this.#row().id)
    if (!target || amount === undefined || !wallet) return
    this.state = { tag: 'paying' }
    try {
      const bolt11 = before.tag === 'unknown' ? before.bolt11 : await invoiceOf(target, amount, this.money)
      const own = target.bolt11 !== undefined && target.amount === undefined
      const result = await wallet.pay(bolt11, own ? { amount } : {})
      wallets.refresh(this.#row().id)
      if (result.tag === 'paid')
        this.state = { tag: 'paid', amount, fees: result.fees, preimage: result.preimage }
      else if (result.tag === 'unknown') {
        this.state = { tag: 'unknown', message: result.message, bolt11 }
        // Others ask their owner each time.
        const looksUp = this.#row().view.info?.features.has('look-up') ?? false
        if (looksUp && !this.#stopped) this.#timer = setTimeout(() => void this.pay(), LOOK_AGAIN_MS)
      } else this.state = { tag: 'failed', trouble: words(new WalletError(result.code, result.message)) }
    } catch (error) {
      this.state = { tag: 'failed', trouble: words(error) }
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }
}

function readTarget(pasted: Pasted, money: Money): Read {
  const fault = misplaced(pasted, 'send')
  if (fault !== undefined) return { fault }
  if (pasted.tag === 'lightning-address') return { target: { address: pasted.address } }
  if (pasted.tag === 'lnurl') return { target: { address: new URL(pasted.url).host, lnurl: pasted.url } }
  if (pasted.tag !== 'invoice') return {}
  const decoded = decodeInvoice(pasted.bolt11, { prefix: prefixOf(money) })
  if (!decoded.ok) return { fault: explainRefusal(decoded.why) }
  const { amount, description, expiresAtMs } = decoded.invoice
  if (expiresAtMs <= Date.now()) return { fault: 'This invoice has expired. Ask for a new one.' }
  return {
    target: {
      bolt11: pasted.bolt11,
      expiresAtMs,
      ...(amount !== undefined && { amount }),
      ...(description !== undefined && { description }),
    },
  }
}

async function invoiceOf({ bolt11, lnurl, address }: Target, amount: Msat, money: Money): Promise<string> {
  if (bolt11 !== undefined) return bolt11
  const terms = await (lnurl === undefined ? askAddress(address ?? '') : askLnurl(lnurl))
  if (amount < terms.least || amount > terms.most)
    throw new WalletError(
      'other',
      `${terms.address} takes ${sats(terms.least)} to ${sats(terms.most)} sats at a time. Change the amount.`,
    )
  return invoiceFrom(terms, amount, money)
}
