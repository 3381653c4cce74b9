/**
 * The vendor's view of the fleet, computed from what is on the relay and from nothing else: a reload, a
 * second tab and a late viewer compute the same. Times are Unix ms.
 */
import type { PartyKey, VendorId } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'
import type { Release } from '../release/target.ts'
import type { DeviceState, Progress, Report, Roster, SellerSum, WindowRow } from './messages.ts'
import type { ReportVerdict } from './report.ts'

/** A device's standing in one release. */
export type DeviceRelease = Readonly<{
  device: PartyKey
  name: string
  /** Enrolled and not revoked; otherwise it is shown and counts for nothing. */
  enrolled: boolean
  path: string
  /** `waiting`: the device lists hardware that fits, and has not been heard about this release. */
  state: DeviceState | 'waiting'
  reason?: string
  needMsat?: Msat
  fundInvoice?: string
  pieces: number
  havePieces: number
  /** Bitfield, BEP 3 order; absent when the device told none. */
  have?: Uint8Array
  paidMsat: Msat
  feesMsat: Msat
  /** Receipts the device speaks of, and those that the vendor has checked itself. */
  receipts: number
  receiptsChecked: number
  sellers: readonly SellerSum[]
  /** In order of purchase: all of them once the report's receipts are here, the latest 40 before. */
  windows: readonly WindowRow[]
  startedAt?: number
  finishedAt?: number
  report?: Report
  verdict?: ReportVerdict
}>

export type DeviceRow = Readonly<{
  key: PartyKey
  /** `XXXX-XXXX`, as the device shows it. */
  code: string
  name: string
  hardware: string
  enrolled: boolean
  enrolledAt?: number
  revokedAt?: number
  /** Of its latest PROGRESS. Absent: never heard of. */
  seenAt?: number
  state?: DeviceState
  reason?: string
  needMsat?: Msat
  fundInvoice?: string
  balanceMsat?: Msat
  installed: Readonly<Record<string, string>>
  /** Newest release first. */
  releases: readonly DeviceRelease[]
}>

/** Who serves whom in one release. */
export type Edge = Readonly<{
  seller: PartyKey
  device: PartyKey
  pieces: number
  bytes: number
  paidMsat: Msat
  rateBps: number
}>

export type ReleaseView = Readonly<{
  release: Release
  status: 'live' | 'withdrawn'
  publishedAt: number
  /** n of m: healthy among the enrolled devices whose hardware fits. */
  healthy: number
  enrolled: number
  counts: Readonly<Record<DeviceState | 'waiting', number>>
  /** Enrolled devices, by name. */
  devices: readonly DeviceRelease[]
  /** What unenrolled keys say: never in the sums. */
  unenrolled: readonly DeviceRelease[]
  edges: readonly Edge[]
  /** Summed over enrolled devices, most paid first. */
  sellers: readonly SellerSum[]
  paidMsat: Msat
  feesMsat: Msat
  receipts: number
  receiptsChecked: number
  /** Reports refused, each with its reason on the device's row. */
  refused: number
}>

export type FleetView = Readonly<{
  vendor?: VendorId
  devices: readonly DeviceRow[]
  unenrolled: readonly DeviceRow[]
  /** Newest first. */
  releases: readonly ReleaseView[]
}>

/** A release that the vendor's metadata names or once named. */
export type KnownRelease = Readonly<{ release: Release; status: 'live' | 'withdrawn'; publishedAt: number }>

export type HeardReport = Readonly<{
  device: PartyKey
  /** Unix ms of the rumour. */
  at: number
  report: Report
  verdict: ReportVerdict
  /** From the report's blob, once fetched. */
  windows?: readonly WindowRow[]
}>

export type FleetInput = Readonly<{
  vendor?: VendorId
  releases: readonly KnownRelease[]
  roster: Roster
  /** The latest of each device. */
  progress: ReadonlyMap<PartyKey, Progress>
  reports: readonly HeardReport[]
}>
