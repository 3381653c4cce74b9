/**
 * What stands behind the wallet service. The ledger, connections and budgets are the same over each; a backend names the
 * money and the largest fee. Play money signs its own invoices and never leaves the books. Behind a node, its invoices
 * are the node's, and a payment to anybody but another account of this service goes over Lightning.
 */
import { encodeInvoice, type InvoiceTemplate } from '../../web/core/money/bolt11.ts'
import { ZERO, type Money, type Msat } from '../../web/core/money/msat.ts'
import { toHex } from '../../web/core/bytes.ts'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { NODE_BASE_FEES, NODE_FEE_PPM } from './fee.ts'
import type { LightningNode, Network, NodeStatus } from './node.ts'

type Common = Readonly<{
  money: Money
  alias: string
  /** The key that signs invoices: compressed, hex. */
  pubkey: string
  network: Network
  /** The most that a payment may cost on top, parts per million of its amount. Play money costs exactly that. */
  feePpm: number
  /** A small payment may cost as much again, up to so much. */
  baseFees: Msat
}>
export type PlayBackend = Common & Readonly<{ tag: 'play'; sign: (invoice: InvoiceTemplate) => string }>
export type NodeBackend = Common &
  Readonly<{
    tag: 'node'
    node: LightningNode
    /** What the node last said of itself. */
    status: () => NodeStatus
  }>
export type Backend = PlayBackend | NodeBackend

/** Play money: every invoice is paid within this service. */
export function sandboxBackend(options: {
  money: Money
  nodeSecret: Uint8Array
  feePpm?: number
}): PlayBackend {
  const { money, nodeSecret } = options
  return {
    tag: 'play',
    money,
    alias: 'Satpatch play money',
    pubkey: toHex(secp256k1.getPublicKey(nodeSecret)),
    network: 'regtest',
    feePpm: options.feePpm ?? 0,
    baseFees: ZERO,
    sign: (invoice) => encodeInvoice(invoice, nodeSecret),
  }
}

/** `status` is the node's first word; `latest` gives what it said since. */
export function nodeBackend(
  node: LightningNode,
  status: NodeStatus,
  latest: () => NodeStatus = () => status,
): NodeBackend {
  const { money, alias, pubkey, network } = status
  return {
    tag: 'node',
    node,
    money,
    alias: alias || 'LND',
    pubkey,
    network,
    feePpm: NODE_FEE_PPM,
    baseFees: NODE_BASE_FEES,
    status: latest,
  }
}
