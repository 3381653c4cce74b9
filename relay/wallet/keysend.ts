/** NIP-47 `pay_keysend`: sats for a node's key, without an invoice. */
import { randomBytes } from 'node:crypto'
import type * as v from 'valibot'
import { fromHex, sha256Hex, toHex } from '../../web/core/bytes.ts'
import { Nip47Refusal, type payKeysendParams } from '../../web/core/wallet/nip47.ts'
import type { Connection } from './connections.ts'
import type { MethodContext } from './methods.ts'
import type { Paying } from './payments.ts'

/** @throws Nip47Refusal */
export function payKeysend(
  { backend, node, payments }: MethodContext,
  connection: Connection,
  asked: v.InferOutput<typeof payKeysendParams>,
  at: number,
): Paying {
  if (!node) throw new Nip47Refusal('NOT_IMPLEMENTED', 'Play money has no nodes to send to; pay an invoice.')
  const { amount, pubkey } = asked
  if (pubkey === backend.pubkey)
    throw new Nip47Refusal('PAYMENT_FAILED', 'This is the node that would pay; it cannot pay itself.')
  const preimage = asked.preimage ?? toHex(randomBytes(32))
  const paymentHash = sha256Hex(fromHex(preimage))
  if (payments.knows(paymentHash))
    throw new Nip47Refusal('PAYMENT_FAILED', 'This preimage was used already; nothing was paid.')
  const records = Object.fromEntries(
    (asked.tlv_records ?? []).map(({ type, value }) => [String(type), value]),
  )
  const target = { tag: 'keysend', pubkey, amount, preimage, records } as const
  node.books.lock(connection, { paymentHash, target, amount }, at)
  return { paymentHash, notices: [], decided: [], send: true }
}
