/**
 * Lightning invoices (BOLT 11): signing, and reading with the payee's key recovered from the signature.
 * Route hints and fallback addresses are skipped: whoever pays hands the text to a wallet.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bech32 } from '@scure/base'
import { concat, fromHex, toHex, utf8, type Bytes, type Sha256Hex } from '../bytes.ts'
import { secp } from '../secp.ts'
import { msat, type Money, type Msat } from './msat.ts'

/** Bitcoin, testnet, signet, and regtest, which is what play money uses: no wallet can mistake it for real. */
export type Prefix = 'lnbc' | 'lntb' | 'lntbs' | 'lnbcrt'

/** What an invoice says, its signature checked. */
export type Bolt11 = Readonly<{
  text: string
  prefix: Prefix
  /** Absent: the payer chooses. */
  amount?: Msat
  paymentHash: Sha256Hex
  /** 64 hex digits. */
  paymentSecret: string
  description?: string
  descriptionHash?: Sha256Hex
  /** 66 hex digits: the compressed key that signed. */
  payee: string
  createdAtMs: number
  expiresAtMs: number
  minFinalCltv: number
}>

/** Why a text is no invoice that may be paid. */
export type Bolt11Refusal =
  | { tag: 'too-long'; max: number }
  | { tag: 'not-bech32' }
  | { tag: 'wrong-prefix'; found: string; expected?: Prefix }
  | { tag: 'bad-amount'; found: string }
  | { tag: 'missing'; field: 'payment hash' | 'payment secret' | 'description' | 'signature' }
  | { tag: 'bad-field'; field: string }
  | { tag: 'unknown-feature'; bit: number }
  | { tag: 'bad-signature' }

export type DecodedInvoice = { ok: true; invoice: Bolt11 } | { ok: false; why: Bolt11Refusal }

/** The most that fits a QR code (version 40, alphanumeric, level L is 4296; byte mode of several codes 7089). */
export const MAX_INVOICE_LENGTH = 7089
/** A tagged field holds at most 1023 words of 5 bits. */
export const MAX_DESCRIPTION_BYTES = 639
export const DEFAULT_EXPIRY_SECONDS = 3600
const DEFAULT_MIN_FINAL_CLTV = 18
const HRP = /^(lnbcrt|lntbs|lnbc|lntb)(.*)$/
const SIGNATURE_WORDS = 104
const TIMESTAMP_WORDS = 7
const HASH_WORDS = 52
const NODE_ID_WORDS = 53
const MAX_CREATED_AT = 2 ** 35 - 1
/** BOLT 11 type characters as numbers. */
const TAG = { p: 1, x: 6, d: 13, s: 16, n: 19, h: 23, c: 24, features: 5 } as const
/** BOLT 9 features of the invoice context that an invoice may demand: 8 onion, 14 secret, 16 parts, 24 blinding, 48 metadata. */
const KNOWN_FEATURES: ReadonlySet<number> = new Set([8, 14, 16, 24, 48])

/** The prefix of invoices in `money`. */
export function prefixOf(money: Money): Prefix {
  if (money === 'bitcoin') return 'lnbc'
  return money === 'testnet' ? 'lntb' : 'lnbcrt'
}

export type InvoiceTemplate = Readonly<{
  prefix: Prefix
  amount?: Msat
  paymentHash: Sha256Hex
  paymentSecret: string
  /** Text, or the hash of a longer one. */
  description: string | { hash: Sha256Hex }
  createdAtMs: number
  expirySeconds: number
  minFinalCltv?: number
}>

/**
 * Writes and signs an invoice; the signature is deterministic (RFC 6979).
 * @throws RangeError for a description over `MAX_DESCRIPTION_BYTES` or a time out of range.
 */
export function encodeInvoice(template: InvoiceTemplate, secret: Uint8Array): string {
  const createdAt = Math.floor(template.createdAtMs / 1000)
  if (!(createdAt >= 0 && createdAt <= MAX_CREATED_AT)) throw new RangeError('invoice time out of range')
  const words = [...fixedNumber(createdAt, TIMESTAMP_WORDS)]
  const field = (tag: number, data: readonly number[]): void => {
    if (data.length > 1023) throw new RangeError('invoice field too long')
    words.push(tag, data.length >> 5, data.length & 31, ...data)
  }
  field(TAG.p, bech32.toWords(fromHex(template.paymentHash)))
  field(TAG.s, bech32.toWords(fromHex(template.paymentSecret)))
  if (typeof template.description === 'string') field(TAG.d, bech32.toWords(utf8(template.description)))
  else field(TAG.h, bech32.toWords(fromHex(template.description.hash)))
  field(TAG.x, number(template.expirySeconds))
  field(TAG.c, number(template.minFinalCltv ?? DEFAULT_MIN_FINAL_CLTV))
  field(TAG.features, FEATURES)
  const hrp = template.prefix + writeAmount(template.amount)
  const signature = secp.signRecoverable(digest(hrp, words), secret)
  return bech32.encode(hrp, [...words, ...bech32.toWords(signature)], false)
}

/** Features 8 (onion) and 14 (payment secret), both demanded, as 5-bit words. */
const FEATURES = [0b10000, 0b01000, 0]

/** Reads an invoice and checks everything that can be checked without a clock or a network. */
export function decodeInvoice(text: string, options: { prefix?: Prefix } = {}): DecodedInvoice {
  const refuse = (why: Bolt11Refusal): DecodedInvoice => ({ ok: false, why })
  if (text.length > MAX_INVOICE_LENGTH) return refuse({ tag: 'too-long', max: MAX_INVOICE_LENGTH })
  const raw = bech32.decodeUnsafe(text as `${string}1${string}`, false)
  if (!raw) return refuse({ tag: 'not-bech32' })
  const head = HRP.exec(raw.prefix)
  const prefix = head?.[1] as Prefix | undefined
  if (!prefix || (options.prefix && prefix !== options.prefix)) {
    const found = prefix ?? raw.prefix.slice(0, 12)
    return refuse({ tag: 'wrong-prefix', found, ...(options.prefix && { expected: options.prefix }) })
  }
  const amount = readAmount(head?.[2] ?? '')
  if (amount === false) return refuse({ tag: 'bad-amount', found: (head?.[2] ?? '').slice(0, 24) })
  if (raw.words.length < TIMESTAMP_WORDS + SIGNATURE_WORDS)
    return refuse({ tag: 'missing', field: 'signature' })

  const signed = raw.words.slice(0, -SIGNATURE_WORDS)
  const fields = readFields(signed)
  if ('tag' in fields) return refuse(fields)
  const { paymentHash, paymentSecret, description, descriptionHash } = fields
  if (!paymentHash) return refuse({ tag: 'missing', field: 'payment hash' })
  if (!paymentSecret) return refuse({ tag: 'missing', field: 'payment secret' })
  if (description === undefined && !descriptionHash) return refuse({ tag: 'missing', field: 'description' })
  const payee = recoverPayee(
    toBytes(raw.words.slice(-SIGNATURE_WORDS)),
    digest(raw.prefix, signed),
    fields.node,
  )
  if (!payee) return refuse({ tag: 'bad-signature' })

  const createdAtMs = readNumber(signed.slice(0, TIMESTAMP_WORDS)) * 1000
  const invoice: Bolt11 = {
    text,
    prefix,
    ...(amount !== undefined && { amount }),
    paymentHash,
    paymentSecret,
    ...(description !== undefined && { description }),
    ...(descriptionHash && { descriptionHash }),
    payee,
    createdAtMs,
    expiresAtMs: createdAtMs + fields.expirySeconds * 1000,
    minFinalCltv: fields.minFinalCltv,
  }
  return { ok: true, invoice }
}

/** What a text claims, its signature unchecked (a recovery costs 2 ms): for invoices of one's own making. */
export function peekInvoice(
  text: string,
): { paymentHash: Sha256Hex; amount?: Msat; expiresAtMs: number } | undefined {
  if (text.length > MAX_INVOICE_LENGTH) return undefined
  const raw = bech32.decodeUnsafe(text as `${string}1${string}`, false)
  if (!raw || raw.words.length < TIMESTAMP_WORDS + SIGNATURE_WORDS) return undefined
  const amount = readAmount(HRP.exec(raw.prefix)?.[2] ?? '?')
  const signed = raw.words.slice(0, -SIGNATURE_WORDS)
  const fields = readFields(signed)
  if (amount === false || 'tag' in fields || !fields.paymentHash) return undefined
  const expiresAtMs = (readNumber(signed.slice(0, TIMESTAMP_WORDS)) + fields.expirySeconds) * 1000
  return { paymentHash: fields.paymentHash, ...(amount !== undefined && { amount }), expiresAtMs }
}

/** A refusal in words for a person. */
export function explainRefusal(why: Bolt11Refusal): string {
  switch (why.tag) {
    case 'too-long':
      return `This is longer than any invoice (${why.max} characters).`
    case 'not-bech32':
      return 'This is not a complete Lightning invoice: a character is wrong or missing. Copy it again.'
    case 'wrong-prefix':
      return why.expected
        ? `This invoice is for other money (${why.found}…, expected ${why.expected}…).`
        : `This is not a Lightning invoice (it starts with ${why.found}).`
    case 'bad-amount':
      return `The invoice's amount cannot be read (${why.found}).`
    case 'missing':
      return `The invoice has no ${why.field}.`
    case 'bad-field':
      return `The invoice's ${why.field} cannot be read.`
    case 'unknown-feature':
      return `The invoice demands a feature that is unknown here (${why.bit}).`
    case 'bad-signature':
      return `The invoice's signature is wrong.`
    default:
      return why satisfies never
  }
}

type Fields = {
  paymentHash?: Sha256Hex
  paymentSecret?: string
  description?: string
  descriptionHash?: Sha256Hex
  node?: Bytes
  expirySeconds: number
  minFinalCltv: number
}

/** The first valid field of a kind counts; those of a wrong length and unknown ones are skipped, as the reader's rules demand. */
function readFields(signed: readonly number[]): Fields | Bolt11Refusal {
  const fields: Fields = { expirySeconds: DEFAULT_EXPIRY_SECONDS, minFinalCltv: DEFAULT_MIN_FINAL_CLTV }
  let at = TIMESTAMP_WORDS
  while (at < signed.length) {
    const [tag = 0, high = 0, low = 0] = signed.slice(at, at + 3)
    const start = at + 3
    const end = start + high * 32 + low
    if (start > signed.length || end > signed.length) return { tag: 'bad-field', field: 'field length' }
    const data = signed.slice(start, end)
    at = end
    if (tag === TAG.p && data.length === HASH_WORDS) fields.paymentHash ??= toHex(toBytes(data)) as Sha256Hex
    else if (tag === TAG.s && data.length === HASH_WORDS) fields.paymentSecret ??= toHex(toBytes(data))
    else if (tag === TAG.h && data.length === HASH_WORDS)
      fields.descriptionHash ??= toHex(toBytes(data)) as Sha256Hex
    else if (tag === TAG.n && data.length === NODE_ID_WORDS) fields.node ??= toBytes(data)
    else if (tag === TAG.d) {
      const text = readText(toBytes(data))
      if (text === undefined) return { tag: 'bad-field', field: 'description' }
      fields.description ??= text
    } else if (tag === TAG.x || tag === TAG.c) {
      const value = readNumber(data)
      if (value > Number.MAX_SAFE_INTEGER / 2000) return { tag: 'bad-field', field: 'expiry' }
      if (tag === TAG.x) fields.expirySeconds = value
      else fields.minFinalCltv = value
    } else if (tag === TAG.features) {
      const unknown = firstUnknownDemand(data)
      if (unknown !== undefined) return { tag: 'unknown-feature', bit: unknown }
    }
  }
  return fields
}

function firstUnknownDemand(words: readonly number[]): number | undefined {
  for (let bit = 0; bit < words.length * 5; bit += 2) {
    const word = words[words.length - 1 - Math.floor(bit / 5)] ?? 0
    if ((word >> (bit % 5)) & 1 && !KNOWN_FEATURES.has(bit)) return bit
  }
  return undefined
}

function recoverPayee(signature: Bytes, hash: Bytes, node: Bytes | undefined): string | undefined {
  if ((signature[64] ?? 4) > 3) return undefined
  if (!node) {
    const key = secp.recover(signature, hash)
    return key === undefined ? undefined : toHex(key)
  }
  try {
    return secp256k1.verify(signature.subarray(0, 64), hash, node, { prehash: false })
      ? toHex(node)
      : undefined
  } catch {
    return undefined
  }
}

/** What is signed: the readable part and the data, padded with zero bits to whole bytes. */
function digest(hrp: string, words: readonly number[]): Bytes {
  const odd = (words.length * 5) % 8
  const padded = odd === 0 ? words : [...words, 0, 0].slice(0, words.length + Math.ceil((8 - odd) / 5))
  return sha256(concat(utf8(hrp), toBytes(padded))) as Bytes
}

/** Whole bytes of a run of 5-bit words; what is left over is ignored. */
function toBytes(words: readonly number[]): Bytes {
  const out = new Uint8Array(Math.floor((words.length * 5) / 8))
  let bits = 0
  let buffer = 0
  let at = 0
  for (const word of words) {
    buffer = ((buffer << 5) | word) & 0xfff
    bits += 5
    if (bits >= 8) out[at++] = (buffer >> (bits -= 8)) & 0xff
  }
  return out
}

function readText(bytes: Bytes): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const readNumber = (words: readonly number[]): number => words.reduce((sum, word) => sum * 32 + word, 0)

function number(value: number): number[] {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a whole number: ${value}`)
  const words: number[] = []
  for (let rest = value; rest > 0; rest = Math.floor(rest / 32)) words.unshift(rest % 32)
  return words.length ? words : [0]
}

const fixedNumber = (value: number, length: number): number[] => [
  ...new Array<number>(Math.max(0, length - number(value).length)).fill(0),
  ...number(value),
]

/** msat in one whole unit of each multiplier; `p` is a tenth of a msat and handled apart. */
const UNITS = [
  ['', 100_000_000_000],
  ['m', 100_000_000],
  ['u', 100_000],
  ['n', 100],
] as const

function writeAmount(amount: Msat | undefined): string {
  if (amount === undefined) return ''
  if (amount === 0) throw new RangeError('an invoice over nothing: leave the amount out')
  for (const [unit, size] of UNITS) if (amount % size === 0) return `${amount / size}${unit}`
  return `${BigInt(amount) * 10n}p`
}

/** `undefined`: no amount; `false`: unreadable, below a msat, or more than can be counted exactly. */
function readAmount(text: string): Msat | undefined | false {
  if (text === '') return undefined
  const [, digits = '', unit = ''] = /^([1-9][0-9]{0,18})([munp]?)$/.exec(text) ?? []
  if (!digits) return false
  const tenths =
    BigInt(digits) * (unit === 'p' ? 1n : 10n * BigInt(UNITS.find(([name]) => name === unit)?.[1] ?? 0))
  if (tenths % 10n !== 0n || tenths / 10n > BigInt(Number.MAX_SAFE_INTEGER)) return false
  return msat(Number(tenths / 10n))
}
