/** A receipt as it travels and is kept: a signed quote and the preimage that paid it. Checked by `quote.ts`. */
export type Receipt = Readonly<{
  /** The quote's canonical bencoding, hex. */
  quote: string
  /** BIP 340 signature of the seller, hex. */
  sig: string
  /** 32 bytes hex; its SHA-256 is the quote's payment hash. */
  preimage: string
}>
