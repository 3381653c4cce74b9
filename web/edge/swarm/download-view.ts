/** A download as people and reports see it: sums per seller, and in words why nothing moves. */
import type { PartyKey } from '../../core/bytes.ts'
import { sum, unitOf, ZERO, type Money, type Msat } from '../../core/money/msat.ts'
import type { SellerSum, WindowRow } from '../../core/rollout/messages.ts'
import { outlook, type Buyer } from '../../core/swarm/buyer.ts'
import type { DownloadSnapshot, DownloadState } from './api.ts'

export type DownloadFacts = Readonly<{
  buyer: Buyer
  rows: readonly WindowRow[]
  running: boolean
  /** Why the disk or the journal stopped the buying. */
  trouble: string | undefined
  /** The wallet's words when it last refused a payment. */
  walletTrouble: string | undefined
  hasWallet: boolean
  rateOf: (key: PartyKey) => number
  /** Names made up for ordinary peers: nobody's, and in no report. */
  plainKeys: ReadonlySet<PartyKey>
  mirror: Readonly<{ bytes: number; trouble: string | undefined; passing: boolean }>
  nowMs: number
}>

export function snapshotOf(facts: DownloadFacts): DownloadSnapshot {
  const { buyer, rows } = facts
  const sellers = sellersOf(facts)
  const open = [...buyer.windows.values()].filter(
    (window) => window.state === 'paying' || window.state === 'unknown',
  )
  return {
    state: stateOf(facts),
    have: buyer.haveCount,
    pieces: buyer.have.length,
    rateBps: sellers.reduce((total, seller) => total + seller.rateBps, 0),
    paid: buyer.paid,
    fees: buyer.fees,
    locked: sum(open.map((window) => window.amount)),
    sellers,
    windows: [...rows],
    boughtTwice: buyer.boughtTwice,
    ...mirrorOf(facts),
  }
}

function mirrorOf({ mirror: { bytes, trouble } }: DownloadFacts): Pick<DownloadSnapshot, 'mirror'> {
  if (bytes === 0 && trouble === undefined) return {}
  return { mirror: { bytes, ...(trouble === undefined ? {} : { trouble }) } }
}

/** Sats come from the receipts, which outlive a restart; free pieces and rates only from this session. */
function sellersOf({ buyer, rows, rateOf, plainKeys }: DownloadFacts): SellerSum[] {
  const bought = new Map<PartyKey, WindowRow[]>()
  for (const row of rows) bought.set(row.seller, [...(bought.get(row.seller) ?? []), row])
  const keys = new Set([...buyer.keys.keys(), ...bought.keys()].filter((key) => !plainKeys.has(key)))
  return [...keys].map((seller) => {
    const of = buyer.keys.get(seller)
    const own = bought.get(seller) ?? []
    const total = (pick: (row: WindowRow) => number) => own.reduce((sofar, row) => sofar + pick(row), 0)
    return {
      seller,
      pieces: Math.max(
        of?.pieces ?? 0,
        total((row) => row.pieces.length),
      ),
      bytes: Math.max(
        of?.bytes ?? 0,
        total((row) => row.bytes),
      ),
      paidMsat: total((row) => row.amountMsat) as Msat,
      feesMsat: total((row) => row.feesMsat) as Msat,
      rateBps: Math.round(rateOf(seller)),
      ...(of?.dropped === undefined ? {} : { dropped: of.dropped }),
    }
  })
}

function stateOf({
  buyer,
  running,
  trouble,
  walletTrouble,
  hasWallet,
  mirror,
  nowMs,
}: DownloadFacts): DownloadState {
  if (!running) return { tag: 'stopped' }
  if (trouble !== undefined) return { tag: 'waiting', why: 'trouble', text: trouble }
  const view = outlook(buyer, nowMs)
  if (view.tag !== 'complete' && walletTrouble !== undefined && buyer.walletRestsUntilMs > nowMs)
    return { tag: 'waiting', why: 'wallet', text: `The wallet does not pay: ${walletTrouble}` }
  if (view.tag === 'looking' && mirror.passing) return { tag: 'buying' }
  switch (view.tag) {
    case 'complete':
    case 'buying':
    case 'looking':
      return { tag: view.tag }
    case 'funds':
      return { tag: 'waiting', why: 'funds', needMsat: view.need }
    case 'budget':
      return {
        tag: 'waiting',
        why: 'budget',
        text:
          view.of === 'sats'
            ? 'The budget for this release is used up. Raise it and the download goes on from here.'
            : 'The limit of bytes bought for this release is reached. Raise it and the download goes on from here.',
      }
    case 'price':
      return {
        tag: 'waiting',
        why: 'price',
        text: `The cheapest seller asks ${view.lowest / 1000} sats per MiB, above the cap of ${buyer.policy.priceCap / 1000}.`,
      }
    case 'money':
      return buyer.money === undefined && hasWallet
        ? {
            tag: 'waiting',
            why: 'wallet',
            text: 'The wallet does not answer. Buying starts by itself when it does.',
          }
        : { tag: 'waiting', why: 'money', text: moneyText(view.offered, buyer.money) }
    case 'unproven':
      return {
        tag: 'waiting',
        why: 'payment',
        text: 'Waiting for the first payment to each seller to settle; nothing more is risked with sellers that never delivered.',
      }
  }
}

function moneyText(offered: Money | undefined, own: Money | undefined): string {
  if (own === undefined) return 'This device has no wallet: connect one to buy.'
  const asked = offered === undefined ? 'other money' : `${unitOf(offered)} (${offered})`
  return `Sellers here ask for ${asked}; this wallet holds ${unitOf(own)} (${own}).`
}

export const NOTHING_YET: DownloadSnapshot = {
  state: { tag: 'stopped' },
  have: 0,
  pieces: 0,
  rateBps: 0,
  paid: ZERO,
  fees: ZERO,
  locked: ZERO,
  sellers: [],
  windows: [],
  boughtTwice: 0,
}
