/** What vendor and device tell each other (ARCHITECTURE.md "Nostr events"). Parsed here, trusted inside. All times are Unix ms. */
import * as v from 'valibot'
import { infoHashSchema, msatSchema, partyKeySchema, sha256HexSchema } from '../release/target.ts'

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
/** What a `Date` can hold: beyond it a page cannot show it. */
const MAX_TIME_MS = 8.64e15
const time = v.pipe(count, v.maxValue(MAX_TIME_MS))

export const deviceStates = [
  'announced',
  'queued',
  'buying',
  'verified',
  'installing',
  'healthy',
  'rolled back',
  'failed',
] as const
export type DeviceState = (typeof deviceStates)[number]

/** One purchased window, in order of purchase. */
export const windowRowSchema = v.object({
  seller: partyKeySchema,
  paymentHash: sha256HexSchema,
  pieces: v.pipe(v.array(count), v.maxLength(4096)),
  bytes: count,
  amountMsat: msatSchema,
  feesMsat: msatSchema,
  /** Unix ms of asking, of paying, of having it. */
  requestedAt: time,
  paidAt: time,
  doneAt: time,
  /** Settled after the device had bought the pieces elsewhere. */
  late: v.boolean(),
})
export type WindowRow = v.InferOutput<typeof windowRowSchema>

export const sellerSumSchema = v.object({
  seller: partyKeySchema,
  pieces: count,
  bytes: count,
  paidMsat: msatSchema,
  feesMsat: msatSchema,
  rateBps: count,
  /** Why the device buys from it no more; a cheat's reason starts with `fraud`. */
  dropped: v.optional(text(200)),
})
export type SellerSum = v.InferOutput<typeof sellerSumSchema>

/** Most rows of what a device refused: kinds of attack, not tries. */
export const MAX_REFUSED = 16

/** What a device refused, one row an attack and origin. Times are the device's own, Unix ms. */
export const refusedSchema = v.object({
  /** The attack's name: TUF's (`rollback`, `freeze`, …) or one of SECURITY.md's table. */
  attack: text(40),
  /** Who tried it: a mirror's address, a key, a file. */
  from: text(120),
  text: text(300),
  count,
  firstAt: time,
  lastAt: time,
})
export type Refused = v.InferOutput<typeof refusedSchema>

/** What a device has sold on of a release, in all of its runs. */
export const resoldSchema = v.object({ earnedMsat: msatSchema, pieces: count, bytes: count })
export type Resold = v.InferOutput<typeof resoldSchema>

/** Most releases before the present one whose resale a device speaks of. */
export const MAX_RESOLD_BEFORE = 8

/** Content of a PROGRESS event, at most one a second while buying; fits NIP-44 and 64 KiB. */
export const progressSchema = v.object({
  v: v.literal(1),
  name: text(80),
  hardware: text(64),
  /** Rises by one with each event of this device, so that an old one is recognised. */
  seq: count,
  at: time,
  state: v.picklist(deviceStates),
  /** Why it waits or failed, in words for a person. */
  reason: v.optional(text(500)),
  /** `queued` for want of funds: how much more, and an invoice that funds it. */
  needMsat: v.optional(msatSchema),
  fundInvoice: v.optional(text(2000)),
  balanceMsat: v.optional(msatSchema),
  /** The vendor's allowance: its client key, and whether it is there. Absent: the owner's own wallet pays. */
  allowance: v.optional(v.object({ client: partyKeySchema, given: v.boolean() })),
  installed: v.optional(v.record(text(64), text(64))), // product -> version
  /** Latest first. */
  refused: v.optional(v.pipe(v.array(refusedSchema), v.maxLength(MAX_REFUSED))),
  release: v.optional(
    v.object({
      path: text(512),
      infoHash: infoHashSchema,
      targetsVersion: count,
      pieces: count,
      /** Bitfield of verified pieces, base64. */
      have: text(24_000),
      startedAt: time,
      paidMsat: msatSchema,
      feesMsat: msatSchema,
      receipts: count,
      /** Absent: nothing. Goes on after the report. */
      resold: v.optional(resoldSchema),
      sellers: v.pipe(v.array(sellerSumSchema), v.maxLength(64)),
      /** The latest windows, newest last. The report's receipts hold all of them. */
      windows: v.pipe(v.array(windowRowSchema), v.maxLength(40)),
    }),
  ),
  /** What was sold on of releases before, latest first: their reports came too early to say it. Absent: nothing. */
  resoldBefore: v.optional(
    v.pipe(v.array(v.object({ path: text(512), ...resoldSchema.entries })), v.maxLength(MAX_RESOLD_BEFORE)),
  ),
})
export type Progress = v.InferOutput<typeof progressSchema>

/** Rumour REPORT: once per release and device. */
export const reportSchema = v.object({
  v: v.literal(1),
  vendor: sha256HexSchema,
  path: text(512),
  sha256: sha256HexSchema,
  piecesRoot: sha256HexSchema,
  targetsVersion: count,
  outcome: v.picklist(['healthy', 'rolled back', 'failed']),
  reason: v.optional(text(2000)),
  announcedAt: time,
  startedAt: time,
  verifiedAt: time,
  finishedAt: time,
  paidMsat: msatSchema,
  feesMsat: msatSchema,
  sellers: v.pipe(v.array(sellerSumSchema), v.maxLength(1000)),
  receipts: count,
  /** BEP 52-style Merkle root over the receipts' hashes, all zero when there is none. */
  receiptsRoot: sha256HexSchema,
  /** AES-256-GCM (12-byte nonce first) of the receipts' and windows' JSON on the mirror, by its SHA-256; key in hex. */
  blob: v.optional(v.object({ sha256: sha256HexSchema, key: sha256HexSchema })),
  /** Bytes written to disk per artifact byte. */
  writeFactor: v.optional(v.number()),
  /** Bytes that came from a plain HTTP mirror, free; absent: none. */
  mirrorBytes: v.optional(count),
  /** Sold until then; absent: nothing. */
  resold: v.optional(resoldSchema),
})
export type Report = v.InferOutput<typeof reportSchema>

/** The blob's plaintext. */
export const receiptsBlobSchema = v.object({
  receipts: v.array(v.object({ quote: v.string(), sig: v.string(), preimage: v.string() })),
  windows: v.array(windowRowSchema),
})

/** Rumour REPORT_ADDENDUM: a payment that settled after the report. */
export const addendumSchema = v.object({
  v: v.literal(1),
  vendor: sha256HexSchema,
  path: text(512),
  receipt: v.object({ quote: v.string(), sig: v.string(), preimage: v.string() }),
  amountMsat: msatSchema,
  feesMsat: msatSchema,
})
export type Addendum = v.InferOutput<typeof addendumSchema>

/** Rumour JOIN_REQUEST, device to vendor. The device's key is the rumour's author. */
export const joinRequestSchema = v.object({
  v: v.literal(1),
  secret: text(64), // from the join code, proves that the vendor invited it
  name: text(80),
  hardware: text(64),
  walletClient: partyKeySchema, // client key for the allowance's connection
})
export type JoinRequest = v.InferOutput<typeof joinRequestSchema>

/** Rumour JOIN_ACCEPT, vendor to device; again with `wallet` when an allowance comes later. */
export const joinAcceptSchema = v.object({
  v: v.literal(1),
  vendor: sha256HexSchema,
  name: text(80),
  /** Absent: the vendor funds nothing yet. */
  wallet: v.optional(v.object({ walletPubkey: partyKeySchema, relays: v.array(text(300)) })),
})
export type JoinAccept = v.InferOutput<typeof joinAcceptSchema>

/** ROSTER content. */
export const rosterSchema = v.object({
  v: v.literal(1),
  devices: v.array(
    v.object({
      key: partyKeySchema,
      name: text(80),
      hardware: text(64),
      enrolledAt: count,
      revokedAt: v.optional(count),
      group: v.optional(text(40)),
      /** When name or group were last given. */
      describedAt: v.optional(count),
    }),
  ),
})
export type Roster = v.InferOutput<typeof rosterSchema>
