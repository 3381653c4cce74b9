/** What the parts of a seller share: the desk and its next step, who is there, the secrets of its quotes, its conduct. */
import type { Bytes, Sha256Hex } from '../../web/core/bytes.ts'
import type { DeskEvent } from '../../web/core/exchange/desk-events.ts'
import type { Desk, Sale, SaleId } from '../../web/core/exchange/desk-state.ts'
import type { Side } from './net.ts'
import type { Node } from './node.ts'
import type { Conduct } from './seller-conduct.ts'

export type SellerParts = Readonly<{
  node: Node
  desk: Desk
  conduct: Conduct
  /** Its wallet holds; otherwise it takes a preimage. */
  hold: boolean
  sides: Map<string, Side>
  /** Sales by the hash of their payment. */
  byHash: Map<string, SaleId>
  step: (event: DeskEvent) => void
  secretOf: (id: SaleId) => Bytes
}>

/** On disk before the quote goes out: enough to settle after a crash. */
export type SaleRecord = Readonly<{ hash: Sha256Hex; amount: number; expiry: number }>

export const SALES = 'sale/'
export const saleKey = (id: SaleId): string => SALES + id

/** Asked anew each time: a sale goes on while a job waits. */
export const isPreparing = (sale: Sale): boolean => sale.state === 'preparing'

/** Tells the judges that a sale is off its buyer's account. */
export function seeOver({ things, id, nowMs }: Node, { id: sale, buyer }: Sale, byWallet: boolean): void {
  things.see({ t: 'cancelled', seller: id, buyer, sale, byWallet }, nowMs)
}
