/** What a seller's owner decides, and what holds unless the owner says otherwise. */
import type { PartyKey } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'

export type DeskPolicy = Readonly<{
  /** msat per MiB */
  price: Msat
  gifts: Readonly<{ to: 'nobody' | 'approved' | 'distributors'; copies: number }>
  approved: readonly PartyKey[]
  /** Ciphertext out and unpaid, all buyers together, bytes; beside it each may have a fourth of what it paid for, 8 MiB at most. */
  unpaidBytes: number
  /** The part of it that keys which never settled may have, bytes; what they never pay stays spent. */
  unprovenBytes: number
}>

/** What a seller has out unpaid at most, unless its owner says otherwise: in all, and to keys that never settled. */
export const DEFAULT_UNPAID_BYTES = 32 * 1024 * 1024
export const DEFAULT_UNPROVEN_BYTES = 16 * 1024 * 1024
