/** What an honest seller does at each turn where a hostile one does otherwise (`hostile.ts`). */
import type { Bytes, Sha256Hex } from '../../web/core/bytes.ts'
import type { Sale } from '../../web/core/exchange/desk-state.ts'
import type { RefusalCode } from '../../web/core/exchange/message.ts'
import type { Quote, SignedQuote } from '../../web/core/exchange/quote.ts'
import type { Job } from './clock.ts'
import type { Side } from './net.ts'
import type { Node } from './node.ts'
import type { FrameOf, Sealed } from './ports.ts'

export class Conduct {
  protected readonly node: Node

  constructor(node: Node) {
    this.node = node
  }

  /** Whether a request is taken to the desk. */
  hears(_side: Side, _request: FrameOf<'request'>): boolean {
    return true
  }
  plain(piece: number): Bytes | undefined {
    return this.node.disk.pieces.get(piece)
  }
  leaves(_sale: Sale, parts: readonly Bytes[]): Bytes {
    return this.node.things.ports.leavesOf(parts)
  }
  seal(secret: Bytes, sale: Sale, parts: readonly Bytes[]): Sealed {
    return this.node.things.ports.seal(secret, sale.id, parts)
  }
  /** Between two frames of a window. */
  *pause(): Job {}
  /** Whether a quote follows a window that is out, or which refusal. */
  quotes(): boolean | RefusalCode {
    return true
  }
  sign(quote: Quote): SignedQuote {
    return this.node.things.ports.quote(quote, this.node.party)
  }
  /** Whether it releases sats that are locked. */
  settles(): boolean {
    return true
  }
  giveKey(side: Side, quote: Sha256Hex, secret: Bytes): void {
    this.node.send(side, { t: 'key', quote, secret })
  }
}
