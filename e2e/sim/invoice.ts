/** The simulator's invoice is its three fields; BOLT 11 has vectors of its own. */
export type InvoiceTerms = Readonly<{ paymentHash: string; amount: number; expiresAtMs: number }>

export const writeInvoice = ({ paymentHash, amount, expiresAtMs }: InvoiceTerms): string =>
  `${paymentHash} ${amount} ${expiresAtMs}`

export function readInvoice(text: string): InvoiceTerms | 'unreadable' {
  const [paymentHash, amount, expiresAtMs] = text.split(' ')
  if (paymentHash === undefined || amount === undefined || expiresAtMs === undefined) return 'unreadable'
  return { paymentHash, amount: Number(amount), expiresAtMs: Number(expiresAtMs) }
}
