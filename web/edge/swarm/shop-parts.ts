/** What the parts of a `Shop` share: the desk and its next step, the wallet's terms, the secrets of its quotes. */
import type { Bytes, Sha256Hex } from '../../core/bytes.ts'
import type { DeskEvent } from '../../core/exchange/desk-events.ts'
import type { Desk } from '../../core/exchange/desk-state.ts'
import type { Message } from '../../core/exchange/message.ts'
import type { Money } from '../../core/money/msat.ts'
import type { SellPolicy, ShopDeps } from './api.ts'
import type { Peer } from './peer.ts'
import type { TradingSession } from './swarm.ts'

/**
 * How payment and goods come together: the wallet takes our preimage, or holds until we settle. One that can do neither
 * sells on credit.
 */
export type Settling = 'preimage' | 'hold' | 'credit'
export type Terms = Readonly<{ money: Money; settling: Settling }>

/** `shop.ts` makes it and keeps policy and terms; the parts only read them. */
export type ShopParts = {
  readonly deps: ShopDeps
  readonly session: TradingSession
  readonly desk: Desk
  policy: SellPolicy
  /** Not known before the wallet has answered. */
  terms: Terms | undefined
  /** Sales by payment hash. */
  readonly byHash: Map<string, Sha256Hex>
  /** The secret of a quote: derived from the persisted key, so that a crash loses none. */
  readonly secretOf: (quote: Sha256Hex) => Bytes
  readonly step: (event: DeskEvent) => void
  readonly peer: (id: string) => Peer | undefined
  /** All peers but one. */
  readonly tellOthers: (peer: string, message: Message) => void
  /** Every piece is here. */
  readonly hasAll: () => boolean
  readonly show: () => void
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
