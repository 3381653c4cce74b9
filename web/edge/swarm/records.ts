/**
 * What a buyer keeps on disk. `buy/<info-hash>/<quote id>`: quote and ciphertext, written before the payment.
 * `receipt/<info-hash>/<quote id>`: receipt and row, written after the pieces. `bad/<info-hash>/<key>`: who cheated.
 */
import * as v from 'valibot'
import { fromUtf8, utf8, type Bytes, type PartyKey } from '../../core/bytes.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import { msatSchema } from '../../core/release/target.ts'
import { windowRowSchema, type WindowRow } from '../../core/rollout/messages.ts'

export type PurchaseRecord = Readonly<{
  quote: string // bencoding, hex
  sig: string
  /** Hashes of the plain blocks, hex: what the seller stands for. */
  leaves: string
  requestedAt: number
  ciphertext: Bytes
}>

const headSchema = v.object({
  quote: v.string(),
  sig: v.string(),
  leaves: v.string(),
  requestedAt: v.number(),
})
const MAX_HEAD = 4 * 1024 * 1024

/** Four bytes of length, the JSON head, the ciphertext: one file, one fsync. */
export function encodePurchase(record: PurchaseRecord): readonly Bytes[] {
  const { ciphertext, ...head } = record
  const json = utf8(JSON.stringify(head))
  const length = new Uint8Array(4)
  new DataView(length.buffer).setUint32(0, json.length)
  return [length, json, ciphertext]
}

/** `undefined` for a torn or foreign record. */
export function decodePurchase(bytes: Bytes): PurchaseRecord | undefined {
  if (bytes.length < 4) return undefined
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  if (length > MAX_HEAD || 4 + length > bytes.length) return undefined
  try {
    const head = v.parse(headSchema, JSON.parse(fromUtf8(bytes.subarray(4, 4 + length))))
    return { ...head, ciphertext: bytes.slice(4 + length) as Bytes }
  } catch {
    return undefined
  }
}

const paidSchema = v.object({
  receipt: v.object({ quote: v.string(), sig: v.string(), preimage: v.string() }),
  row: windowRowSchema,
  feesOpen: v.optional(v.literal(true)),
})
/** `feesOpen`: the wallet has not named the fees yet; the row has none. */
export type PaidRecord = Readonly<{ receipt: Receipt; row: WindowRow; feesOpen?: true | undefined }>

const lossSchema = v.object({ why: v.string(), amount: msatSchema })
export type LossRecord = v.InferOutput<typeof lossSchema>

export const encodeJson = (value: PaidRecord | LossRecord): Bytes => utf8(JSON.stringify(value))
export const decodePaid = (bytes: Uint8Array | undefined): PaidRecord | undefined => parse(paidSchema, bytes)
export const decodeLoss = (bytes: Uint8Array | undefined): LossRecord | undefined => parse(lossSchema, bytes)

function parse<S extends v.GenericSchema>(
  schema: S,
  bytes: Uint8Array | undefined,
): v.InferOutput<S> | undefined {
  if (bytes === undefined) return undefined
  try {
    return v.parse(schema, JSON.parse(fromUtf8(bytes)))
  } catch {
    return undefined
  }
}

export const lossKey = (infoHash: string, key: PartyKey): string => `bad/${infoHash}/${key}`
