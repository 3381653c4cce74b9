/**
 * What the node has to do before the books may follow: it is thrown out of a method, done, and the method runs again
 * with what was done. Nothing is written in between, so a kill there leaves the node ahead of the books: an invoice that
 * nobody was told of, or one that is settled, which is looked up at the next start.
 */
import { Nip47Refusal } from '../../web/core/wallet/nip47.ts'
import type { NodeBackend } from './backend.ts'
import type { InvoiceDraft } from './node.ts'
import type { Invoice } from './telling.ts'

/** What the node has done for a request. */
export type Prepared =
  | { tag: 'invoice'; paymentHash: string; preimage: string | undefined; bolt11: string }
  /** The node takes no more payments of it. */
  | { tag: 'cancelled'; paymentHash: string }
  | { tag: 'settled'; paymentHash: string }

export class NodeFirst extends Error {
  override readonly name = 'NodeFirst'
  /** @throws NodeError */
  readonly run: () => Promise<Prepared>
  constructor(run: () => Promise<Prepared>) {
    super('the node has to do something first')
    this.run = run
  }
}

/** The node's invoice. @throws NodeFirst until it has made it */
export function issued({ node }: NodeBackend, draft: InvoiceDraft, prepared: Prepared | undefined): string {
  const { paymentHash, preimage } = draft
  if (prepared?.tag === 'invoice' && prepared.paymentHash === paymentHash) return prepared.bolt11
  throw new NodeFirst(async () => ({
    ...{ tag: 'invoice', paymentHash, preimage },
    bolt11: await node.makeInvoice(draft),
  }))
}

/** What came in for a hold invoice that its holder settles. @throws NodeFirst until the node has settled, Nip47Refusal */
export function settledAtNode(
  { node }: NodeBackend,
  invoice: Invoice,
  preimage: string,
  prepared: Prepared | undefined,
): { tag: 'settled'; received: number } {
  const { payment_hash: paymentHash, state, received } = invoice
  if (state !== 'accepted' || received === null)
    throw new Nip47Refusal('OTHER', `Nothing is locked for this invoice (it is ${state}).`)
  if (prepared?.tag === 'settled' && prepared.paymentHash === paymentHash) return { tag: 'settled', received }
  throw new NodeFirst(async () => {
    await node.settle(preimage)
    return { tag: 'settled', paymentHash }
  })
}
