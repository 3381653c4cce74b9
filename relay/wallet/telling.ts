/** Rows of invoices and payments, and how NIP-47 tells them. */

/** NIP-47's transaction object, as it is sent. */
export type Told = Record<string, string | number | object>

export type Invoice = {
  payment_hash: string
  account: string
  client: string
  bolt11: string
  /** 0: the payer chooses. */
  amount: number
  description: string
  description_hash: string | null
  preimage: string | null
  hold: number
  state: 'open' | 'accepted' | 'settled' | 'cancelled'
  created_at: number
  expires_at: number
  settled_at: number | null
  settle_by: number | null
  /** What was locked or paid. */
  received: number | null
  /** 1: the Lightning node may still take a payment of it. 2: it no longer will. 0: it never had it. */
  node: number
  /** JSON, the client's own. */
  metadata: string | null
}
export type Payment = {
  payment_hash: string
  account: string
  client: string
  amount: number
  fees: number
  state: 'pending' | 'settled' | 'returned'
  created_at: number
  settled_at: number | null
  /** Through the Lightning node, or within the books. What follows is null in the books. */
  route: 'books' | 'node'
  reserve: number
  reference: string | null
  target: string | null
  description: string | null
  expires_at: number | null
  preimage: string | null
  why: string | null
  metadata: string | null
}

const seconds = (ms: number): number => Math.floor(ms / 1000)

export function tellInvoice(invoice: Invoice, at: number): Told {
  const { state } = invoice
  const unpaid = invoice.expires_at <= at ? 'expired' : 'pending'
  const told = { open: unpaid, accepted: 'accepted', settled: 'settled', cancelled: 'failed' }[state]
  return {
    type: 'incoming',
    state: told,
    ...common(invoice),
    fees_paid: 0,
    created_at: seconds(invoice.created_at),
    ...(state === 'accepted' &&
      invoice.settle_by !== null && { settle_deadline: seconds(invoice.settle_by) }),
  }
}

/** The payer's side of `invoice`. */
export function tellPayment(invoice: Invoice, payment: Payment): Told {
  const { amount, state, fees, created_at, settled_at, metadata } = payment
  return {
    type: 'outgoing',
    state: OUTGOING[state],
    ...common({ ...invoice, settled_at, metadata }),
    amount,
    fees_paid: fees,
    created_at: seconds(created_at),
    ...(state === 'pending' && invoice.settle_by !== null && { settle_deadline: seconds(invoice.settle_by) }),
  }
}

const OUTGOING = { pending: 'pending', settled: 'settled', returned: 'failed' } as const

/** One that went, or goes, over the Lightning node: what is known of it stands in its own row. */
export function tellNodePayment(payment: Payment): Told {
  const { state, description, preimage, expires_at, settled_at, created_at, metadata } = payment
  const target = JSON.parse(payment.target ?? '{}') as { bolt11?: string }
  return {
    type: 'outgoing',
    state: OUTGOING[state],
    ...(target.bolt11 !== undefined && { invoice: target.bolt11 }),
    ...(description !== null && { description }),
    ...(preimage !== null && { preimage }),
    // Earlier tries of one hash are kept as HASH/1, HASH/2, ...
    payment_hash: payment.payment_hash.slice(0, 64),
    amount: payment.amount,
    fees_paid: state === 'returned' ? 0 : payment.fees,
    created_at: seconds(created_at),
    ...(expires_at !== null && { expires_at: seconds(expires_at) }),
    ...(settled_at !== null && { settled_at: seconds(settled_at) }),
    ...tellMetadata(metadata),
  }
}

const tellMetadata = (metadata: string | null): { metadata?: object } =>
  metadata === null ? {} : { metadata: JSON.parse(metadata) as object }

const common = (invoice: Invoice): Told => ({
  invoice: invoice.bolt11,
  description: invoice.description,
  ...(invoice.description_hash !== null && { description_hash: invoice.description_hash }),
  ...(invoice.settled_at !== null && invoice.preimage !== null && { preimage: invoice.preimage }),
  payment_hash: invoice.payment_hash,
  amount: invoice.received ?? invoice.amount,
  expires_at: seconds(invoice.expires_at),
  ...(invoice.settled_at !== null && { settled_at: seconds(invoice.settled_at) }),
  ...tellMetadata(invoice.metadata),
})
