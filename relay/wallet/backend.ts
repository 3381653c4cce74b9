/**
 * What stands behind the wallet service. The ledger, connections and budgets are the same over each; a backend names the
 * money, signs invoices, and says what it can do beyond them.
 */
import { encodeInvoice, type InvoiceTemplate } from '../../web/core/money/bolt11.ts'
import type { Money } from '../../web/core/money/msat.ts'
import { toHex } from '../../web/core/bytes.ts'
import { secp256k1 } from '@noble/curves/secp256k1.js'

export interface Backend {
  readonly money: Money
  readonly alias: string
  /** The key that signs invoices: compressed, hex. */
  readonly pubkey: string
  readonly network: 'mainnet' | 'testnet' | 'signet' | 'regtest'
  /** Routing fee of a payment, parts per million of its amount. */
  readonly feePpm: number
  /** A signed BOLT 11 invoice. */
  sign(invoice: InvoiceTemplate): string
}

/** Play money: every invoice is paid within this service. */
export function sandboxBackend(options: { money: Money; nodeSecret: Uint8Array; feePpm?: number }): Backend {
  const { money, nodeSecret } = options
  return {
    money,
    alias: 'Satpatch play money',
    pubkey: toHex(secp256k1.getPublicKey(nodeSecret)),
    network: 'regtest',
    feePpm: options.feePpm ?? 0,
    sign: (invoice) => encodeInvoice(invoice, nodeSecret),
  }
}
