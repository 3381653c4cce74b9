/** Rows of invoices and payments, and how NIP-47 tells them. */

/** NIP-47's transaction object, as it is sent. */
export type Told = Record<string, string | number>

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
  const { amount, state, fees, created_at, settled_at } = payment
  return {
    type: 'outgoing',
    state: { pending: 'pending', settled: 'settled', returned: 'failed' }[state],
    ...common({ ...invoice, settled_at }),
    amount,
    fees_paid: fees,
    created_at: seconds(created_at),
    ...(state === 'pending' && invoice.settle_by !== null && { settle_deadline: seconds(invoice.settle_by) }),
  }
}

const common = (invoice: Invoice): Told => ({
  invoice: invoice.bolt11,
  description: invoice.description,
  ...(invoice.description_hash !== null && { description_hash: invoice.description_hash }),
  ...(invoice.settled_at !== null && invoice.preimage !== null && { preimage: invoice.preimage }),
  payment_hash: invoice.payment_hash,
  amount: invoice.received ?? invoice.amount,
  expires_at: seconds(invoice.expires_at),
  ...(invoice.settled_at !== null && { settled_at: seconds(invoice.settled_at) }),
})
