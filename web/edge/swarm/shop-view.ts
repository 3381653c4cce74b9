/** A shop as people see it: its sums and its latest sales. */
import type { Sha256Hex } from '../../core/bytes.ts'
import type { Desk, Sale } from '../../core/exchange/desk-state.ts'
import { ZERO, type Money } from '../../core/money/msat.ts'
import type { SaleRow, SellPolicy, ShopSnapshot } from './api.ts'

const MAX_ROWS = 50

export type ShopFacts = Readonly<{
  desk: Desk
  policy: SellPolicy
  money: Money | undefined
  trouble: string | undefined
  pieceLength: number
  rateBps: number
  sent: (id: Sha256Hex) => number
}>

export const EMPTY_SHOP: ShopSnapshot = {
  money: undefined,
  uploadedBytes: 0,
  soldPieces: 0,
  earned: ZERO,
  unpaidBytes: 0,
  rateBps: 0,
  sales: [],
  giftsLeft: 0,
}

export function shopSnapshot(facts: ShopFacts): ShopSnapshot {
  const { desk, policy, money, trouble } = facts
  return {
    money,
    ...(trouble === undefined ? {} : { trouble }),
    uploadedBytes: desk.uploadedBytes,
    soldPieces: desk.soldPieces,
    earned: desk.earned,
    unpaidBytes: desk.unpaidBytes,
    rateBps: Math.round(facts.rateBps),
    sales: [...desk.sales.values()]
      .slice(-MAX_ROWS)
      .reverse()
      .map((sale) => rowOf(sale, facts)),
    giftsLeft: policy.gifts.to === 'nobody' ? 0 : Math.max(0, policy.gifts.copies - desk.gifted.size),
  }
}

const states = {
  blocked: 'waiting',
  preparing: 'sending',
  waiting: 'waiting',
  locked: 'waiting',
  paid: 'paid',
  given: 'given',
  expired: 'expired',
  cancelled: 'dropped',
  failed: 'dropped',
} as const

function rowOf(sale: Sale, { pieceLength, sent }: ShopFacts): SaleRow {
  const sentBytes = sale.state === 'preparing' || sale.state === 'blocked' ? sent(sale.id) : sale.bytes
  return {
    id: sale.id,
    buyer: sale.buyer,
    pieces: sale.pieces.length,
    sentPieces: Math.min(sale.pieces.length, Math.ceil(sentBytes / pieceLength)),
    state: states[sale.state],
    amount: sale.amount,
    at: sale.at,
  }
}
