/**
 * Who says whether a run was right. Judges read facts (`trace.ts`) and keep sums of their own; nothing in this folder
 * imports anything of the product, so that one mistake cannot be made on both sides.
 */
import type { BuyerBounds, Fact, NodeId, SellerBounds } from '../trace.ts'

export interface Judge {
  see(fact: Fact, atMs: number): void
}

/** Says what must hold, and did not. */
export type Cry = (says: string) => void

/** What judges know beforehand. */
export type Charter = Readonly<{
  /** The release's bytes, piece by piece. */
  content: readonly Uint8Array[]
  pieceLength: number
  buyers: ReadonlyMap<NodeId, BuyerBounds>
  sellers: ReadonlyMap<NodeId, SellerBounds>
}>
