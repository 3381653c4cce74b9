/**
 * The vendor's view of the fleet, computed from what is on the relay and from nothing else: a reload, a
 * second tab and a late viewer compute the same. Times are Unix ms.
 */
import { base64 } from '@scure/base'
import type { PartyKey, VendorId } from '../bytes.ts'
import { msat, type Msat } from '../money/msat.ts'
import type { Release } from '../release/target.ts'
import { mergeSellers, sumResold, sumTold, withLate } from './fleet-sums.ts'
import { deviceCode } from './join.ts'
import { deviceStates } from './messages.ts'
import type {
  DeviceState,
  Progress,
  Refused,
  Report,
  Resold,
  Roster,
  SellerSum,
  WindowRow,
} from './messages.ts'
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
  allowance?: DeviceRow['allowance']
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
  /** What it has sold on of this release, as it last said; goes on after the report. */
  resold?: Resold
  report?: Report
  verdict?: ReportVerdict
}>

export type DeviceRow = Readonly<{
  key: PartyKey
  /** `XXXX-XXXX`, as the device shows it. */
  code: string
  name: string
  hardware: string
  /** As the vendor has put it. */
  group?: string
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
  /** Whether the vendor's allowance is there. Absent: it pays from a wallet of its owner's, or has not said. */
  allowance?: 'given' | 'none'
  installed: Readonly<Record<string, string>>
  /** What it has sold on of all releases that are shown. Absent: nothing. */
  resold?: Resold
  /** Attacks that it noticed and refused, latest first. */
  refused: readonly Refused[]
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
  /** What enrolled devices have sold on to others. Absent: nothing. */
  resold?: Resold
  receipts: number
  receiptsChecked: number
  /** Reports refused; a device's row shows the reason when it has no better one. */
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

/** A late payment whose receipt counts. */
export type HeardAddendum = Readonly<{
  device: PartyKey
  path: string
  seller: PartyKey
  paymentHash: string
  paidMsat: Msat
  feesMsat: Msat
}>

export type FleetInput = Readonly<{
  vendor?: VendorId
  releases: readonly KnownRelease[]
  roster: Roster
  /** The latest of each device. */
  progress: ReadonlyMap<PartyKey, Progress>
  reports: readonly HeardReport[]
  addenda?: readonly HeardAddendum[]
}>

type Member = Roster['devices'][number]
type Known = Readonly<{ key: PartyKey; member?: Member; progress?: Progress }>

const isEnrolled = ({ member }: Known): boolean => member !== undefined && member.revokedAt === undefined
const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** The whole view. Deterministic: the order in which events arrived does not show. */
export function fleetView(input: FleetInput): FleetView {
  const releases = [...input.releases].sort(
    (a, b) => b.publishedAt - a.publishedAt || text(a.release.path, b.release.path),
  )
  const members = new Map(input.roster.devices.map((member) => [member.key, member]))
  const keys = new Set([...members.keys(), ...input.progress.keys(), ...input.reports.map((r) => r.device)])
  const known: Known[] = [...keys].map((key) => {
    const member = members.get(key)
    const progress = input.progress.get(key)
    return { key, ...(member ? { member } : {}), ...(progress ? { progress } : {}) }
  })
  const heard = indexReports(input)
  const rows = known
    .map((device) => deviceRow(device, releases, heard))
    .sort((a, b) => text(a.name, b.name) || text(a.key, b.key))
  return {
    ...(input.vendor ? { vendor: input.vendor } : {}),
    devices: rows.filter((row) => row.enrolled),
    unenrolled: rows.filter((row) => !row.enrolled),
    releases: releases.map((release) =>
      releaseView(release, rows, refusedOf(release.release.path, rows, input)),
    ),
  }
}

type Heard = Readonly<{
  report: (device: PartyKey, path: string) => HeardReport | undefined
  addenda: (device: PartyKey, path: string) => readonly HeardAddendum[]
}>

/** One report a device and release: an accepted one, else the earliest. */
function indexReports(input: FleetInput): Heard {
  const reports = new Map<string, HeardReport>()
  for (const one of input.reports) {
    const at = `${one.device} ${one.report.path}`
    const best = reports.get(at)
    if (!best || rank(one) < rank(best) || (rank(one) === rank(best) && one.at < best.at))
      reports.set(at, one)
  }
  const addenda = Map.groupBy(input.addenda ?? [], (one) => `${one.device} ${one.path}`)
  return {
    report: (device, path) => reports.get(`${device} ${path}`),
    addenda: (device, path) => addenda.get(`${device} ${path}`) ?? [],
  }
}
const rank = ({ verdict }: HeardReport): number => ['accepted', 'checking', 'refused'].indexOf(verdict.tag)

function deviceRow(device: Known, releases: readonly KnownRelease[], heard: Heard): DeviceRow {
  const { key, member, progress } = device
  const hardware = progress?.hardware ?? member?.hardware ?? ''
  const concerned = releases.filter(
    ({ release }) =>
      release.hardware.includes(hardware) ||
      progress?.release?.path === release.path ||
      heard.report(key, release.path) !== undefined,
  )
  const shown = concerned.map(({ release, status }) => deviceRelease(device, release, status, heard))
  const resold = sumResold(shown.map((one) => one.resold))
  return {
    key,
    code: deviceCode(key),
    name: nameOf(device),
    hardware,
    enrolled: isEnrolled(device),
    ...(member?.group === undefined ? {} : { group: member.group }),
    ...(member ? { enrolledAt: member.enrolledAt } : {}),
    ...(member?.revokedAt === undefined ? {} : { revokedAt: member.revokedAt }),
    ...(progress ? { seenAt: progress.at, state: progress.state } : {}),
    ...waitOf(progress),
    ...(progress?.balanceMsat === undefined ? {} : { balanceMsat: progress.balanceMsat }),
    installed: progress?.installed ?? {},
    ...(resold ? { resold } : {}),
    refused: progress?.refused ?? [],
    releases: shown,
  }
}

/** The vendor's own name for it, else the device's. */
const nameOf = ({ key, member, progress }: Known): string => member?.name || progress?.name || key.slice(0, 8)

type Wait = Pick<DeviceRow, 'reason' | 'needMsat' | 'fundInvoice' | 'allowance'>
const waitOf = (progress: Progress | undefined): Wait => ({
  ...(progress?.reason === undefined ? {} : { reason: progress.reason }),
  ...(progress?.needMsat === undefined ? {} : { needMsat: progress.needMsat }),
  ...(progress?.fundInvoice === undefined ? {} : { fundInvoice: progress.fundInvoice }),
  ...(progress?.allowance ? { allowance: progress.allowance.given ? 'given' : 'none' } : {}),
})

function deviceRelease(
  device: Known,
  release: Release,
  status: KnownRelease['status'],
  heard: Heard,
): DeviceRelease {
  const { key, progress } = device
  const one = heard.report(key, release.path)
  const told = one?.verdict.tag === 'refused' ? undefined : one
  const now = progress?.release?.path === release.path ? progress.release : undefined
  const late = heard.addenda(key, release.path)
  const pieces = Math.ceil(release.bytes / release.pieceLength)
  const state = stateOf(progress, release, now !== undefined, told, status)
  const whole =
    state === 'healthy' || state === 'rolled back' || state === 'installing' || state === 'verified'
  const have = now && bitfield(now.have, pieces)
  const sums = told?.report ?? now
  const resold = resoldOf(progress, release.path) ?? told?.report.resold
  return {
    device: key,
    name: nameOf(device),
    enrolled: isEnrolled(device),
    path: release.path,
    state,
    ...(now && !told ? waitOf(progress) : {}),
    ...(told?.report.reason === undefined ? {} : { reason: told.report.reason }),
    pieces,
    havePieces: whole ? pieces : have ? Math.min(pieces, countBits(have)) : 0,
    ...(have ? { have } : {}),
    paidMsat: sumTold([sums?.paidMsat ?? msat(0), ...late.map((l) => l.paidMsat)]),
    feesMsat: sumTold([sums?.feesMsat ?? msat(0), ...late.map((l) => l.feesMsat)]),
    receipts: (sums?.receipts ?? 0) + late.length,
    receiptsChecked: told?.verdict.tag === 'accepted' ? told.verdict.receipts + late.length : 0,
    sellers: withLate(sums?.sellers ?? [], late),
    windows: told?.windows ?? now?.windows ?? [],
    // 0: it has not come to it.
    ...(sums && sums.startedAt > 0 ? { startedAt: sums.startedAt } : {}),
    ...(told ? { finishedAt: told.report.finishedAt } : {}),
    ...(resold ? { resold } : {}),
    ...(one ? { report: one.report, verdict: one.verdict } : {}),
  }
}

/** As the device last said; what it says of a release goes on after its report. */
function resoldOf(progress: Progress | undefined, path: string): Resold | undefined {
  if (progress?.release?.path === path) return progress.release.resold
  const before = progress?.resoldBefore?.find((one) => one.path === path)
  if (!before) return undefined
  const { earnedMsat, pieces, bytes } = before
  return { earnedMsat, pieces, bytes }
}

function stateOf(
  progress: Progress | undefined,
  release: Release,
  isCurrent: boolean,
  told: HeardReport | undefined,
  status: KnownRelease['status'],
): DeviceRelease['state'] {
  if (told) return told.report.outcome
  if (progress && isCurrent) return progress.state
  const { installed } = progress ?? {}
  if (
    installed &&
    Object.hasOwn(installed, release.product) &&
    installed[release.product] === release.version
  ) {
    return 'healthy'
  }
  // `queued` and `announced` come before there is anything to tell of the release itself.
  const early = progress?.state === 'queued' || progress?.state === 'announced'
  return early && status === 'live' && !progress.release ? progress.state : 'waiting'
}

function bitfield(encoded: string, pieces: number): Uint8Array | undefined {
  try {
    const bytes = base64.decode(encoded)
    return bytes.length === Math.ceil(pieces / 8) ? bytes : undefined
  } catch {
    return undefined
  }
}

function countBits(bytes: Uint8Array): number {
  let bits = 0
  for (let byte of bytes) for (; byte; byte &= byte - 1) bits++
  return bits
}

const refusedOf = (path: string, rows: readonly DeviceRow[], input: FleetInput): number => {
  const enrolled = new Set(rows.filter((row) => row.enrolled).map((row) => row.key))
  return input.reports.filter(
    (one) => one.report.path === path && one.verdict.tag === 'refused' && enrolled.has(one.device),
  ).length
}

function releaseView(
  { release, status, publishedAt }: KnownRelease,
  rows: readonly DeviceRow[],
  refused: number,
): ReleaseView {
  const all = rows.flatMap((row) => row.releases.filter((one) => one.path === release.path))
  const devices = all.filter((one) => one.enrolled)
  const counts = Object.fromEntries(['waiting', ...deviceStates].map((state) => [state, 0])) as Record<
    DeviceState | 'waiting',
    number
  >
  for (const { state } of devices) counts[state]++
  const total = (pick: (one: DeviceRelease) => number) => devices.reduce((n, one) => n + pick(one), 0)
  const resold = sumResold(devices.map((one) => one.resold))
  return {
    release,
    status,
    publishedAt,
    healthy: counts.healthy,
    enrolled: devices.length,
    counts,
    devices,
    unenrolled: all.filter((one) => !one.enrolled),
    edges: devices.flatMap(({ device, sellers }) =>
      sellers.map(({ seller, pieces, bytes, paidMsat, rateBps }) => ({
        seller,
        device,
        pieces,
        bytes,
        paidMsat,
        rateBps,
      })),
    ),
    sellers: mergeSellers(devices.flatMap((one) => one.sellers)),
    paidMsat: sumTold(devices.map((one) => one.paidMsat)),
    feesMsat: sumTold(devices.map((one) => one.feesMsat)),
    ...(resold ? { resold } : {}),
    receipts: total((one) => one.receipts),
    receiptsChecked: total((one) => one.receiptsChecked),
    refused,
  }
}
