/**
 * What the swarm picture shows of one release: sellers, the counter (who buys now), the fleet. Pure. It merges
 * what does not fit and never samples trouble away; order is by first seen, so nothing jumps.
 */
import type { DeviceState } from '../../core/rollout/messages.ts'
import type { DeviceRelease, ReleaseView } from '../../core/rollout/fleet.ts'
import { keyName } from '../ui/format.ts'

/** Rows that fit; beyond them the rest is one row. */
export const SELLER_ROWS = 7
export const LANES = 8
export const FLEET_SQUARES = 400

export type SellerRow = Readonly<{
  /** A seller's key, or `rest`. */
  key: string
  name: string
  rateBps: number
  pieces: number
  paidMsat: number
  /** Why devices buy from it no more, when it cheated. */
  barred?: string
}>

export type Lane = Readonly<{
  /** A device's key, or `rest`. */
  key: string
  name: string
  state: DeviceState | 'waiting'
  have: Uint8Array
  pieces: number
  havePieces: number
}>

export type Thread = Readonly<{
  id: string
  seller: number
  lane: number
  rateBps: number
  pieces: number
  paidMsat: number
}>

export type Cell = Readonly<{
  key: string
  title: string
  state: DeviceState
  share: number
  devices: number
}>

export type SwarmModel = Readonly<{
  sellers: readonly SellerRow[]
  lanes: readonly Lane[]
  threads: readonly Thread[]
  fleet: readonly Cell[]
  perCell: number
  /** The lanes are the whole fleet, not only who buys. */
  whole: boolean
  devices: number
  buying: number
  sentence: string
}>

export type Names = Readonly<{
  own?: string
  tab: string
  device: (key: string) => string | undefined
  /** Keys that are connected now; those that are no device stand ready to sell. */
  present?: readonly string[]
}>

const TROUBLE: readonly DeviceRelease['state'][] = ['failed', 'rolled back']
const shownState = (state: DeviceRelease['state']): DeviceState => (state === 'waiting' ? 'announced' : state)

/** `seen` holds keys in the order they were first seen; it is extended here. */
export function swarmModel(view: ReleaseView, names: Names, seen: string[]): SwarmModel {
  const allSellers = inOrderSeen(sellersOf(view, names), (row) => row.key, seen)
  const few = view.devices.length <= LANES
  const buying = view.devices.filter(
    (d) => few || d.state === 'buying' || (d.state === 'queued' && d.havePieces > 0),
  )
  const buyers = inOrderSeen(buying, (d) => d.device, seen)

  const [sellers, sellerAt] = mergeSellers(allSellers, names.own)
  const [lanes, laneAt] = mergeLanes(buyers)
  return {
    sellers,
    lanes,
    threads: threadsOf(view, sellerAt, laneAt),
    ...fleetOf(view.devices),
    whole: few,
    devices: view.devices.length,
    buying: view.counts.buying,
    sentence: sentenceOf(view, allSellers),
  }
}

/** Edges with the rate of those that still buy: a device that has everything told its average last. */
function flowing(view: ReleaseView): ReleaseView['edges'] {
  const buying = new Set(view.devices.filter((d) => d.state === 'buying').map((d) => d.device))
  return view.edges.map((edge) => (buying.has(edge.device) ? edge : { ...edge, rateBps: 0 }))
}

function inOrderSeen<T>(rows: readonly T[], keyOf: (row: T) => string, seen: string[]): T[] {
  const order = new Map(seen.map((key, i) => [key, i]))
  for (const key of rows.map(keyOf)) {
    if (!order.has(key)) order.set(key, seen.push(key) - 1)
  }
  return [...rows].sort((a, b) => order.get(keyOf(a))! - order.get(keyOf(b))!)
}

function sellersOf(view: ReleaseView, names: Names): SellerRow[] {
  const rates = new Map<string, number>()
  for (const edge of flowing(view)) rates.set(edge.seller, (rates.get(edge.seller) ?? 0) + edge.rateBps)
  const rows = view.sellers.map((s): SellerRow => {
    const barred = s.dropped?.startsWith('fraud') ? s.dropped : undefined
    return {
      key: s.seller,
      name: s.seller === names.own ? names.tab : (names.device(s.seller) ?? keyName(s.seller, 'seed')),
      rateBps: rates.get(s.seller) ?? 0,
      pieces: s.pieces,
      paidMsat: s.paidMsat,
      ...(barred === undefined ? {} : { barred }),
    }
  })
  const own = names.own
  if (own !== undefined && !rows.some((row) => row.key === own)) {
    rows.unshift({ key: own, name: names.tab, rateBps: 0, pieces: 0, paidMsat: 0 })
  }
  for (const key of names.present ?? []) {
    if (names.device(key) !== undefined || rows.some((row) => row.key === key)) continue
    rows.push({ key, name: keyName(key, 'seed'), rateBps: 0, pieces: 0, paidMsat: 0 })
  }
  // This tab stands first; the rest in the order that they are first seen.
  return rows.sort((a, b) => Number(b.key === own) - Number(a.key === own))
}

/** This tab and every barred seller always keep a row of their own; the slowest others share one. */
function mergeSellers(
  all: readonly SellerRow[],
  own: string | undefined,
): [SellerRow[], Map<string, number>] {
  const at = new Map<string, number>()
  if (all.length <= SELLER_ROWS) {
    all.forEach((row, i) => at.set(row.key, i))
    return [[...all], at]
  }
  const first = (row: SellerRow) => (row.key === own || row.barred !== undefined ? 1 : 0)
  const kept = new Set(
    [...all]
      .sort((a, b) => first(b) - first(a) || b.rateBps - a.rateBps || b.pieces - a.pieces)
      .slice(0, SELLER_ROWS - 1),
  )
  const rows = all.filter((row) => kept.has(row))
  const rest = all.filter((row) => !kept.has(row))
  rows.forEach((row, i) => at.set(row.key, i))
  for (const row of rest) at.set(row.key, rows.length)
  rows.push({
    key: 'rest',
    name: `${rest.length} more`,
    rateBps: rest.reduce((a, b) => a + b.rateBps, 0),
    pieces: rest.reduce((a, b) => a + b.pieces, 0),
    paidMsat: rest.reduce((a, b) => a + b.paidMsat, 0),
  })
  return [rows, at]
}

function mergeLanes(buyers: readonly DeviceRelease[]): [Lane[], Map<string, number>] {
  const at = new Map<string, number>()
  const own = buyers.length <= LANES ? buyers : buyers.slice(0, LANES - 1)
  const lanes = own.map((d, i): Lane => {
    at.set(d.device, i)
    return {
      key: d.device,
      name: d.name,
      state: d.state,
      have: d.have ?? filled(d),
      pieces: d.pieces,
      havePieces: d.havePieces,
    }
  })
  const rest = buyers.slice(own.length)
  if (rest.length > 0) {
    for (const d of rest) at.set(d.device, lanes.length)
    lanes.push({
      key: 'rest',
      name: `${rest.length} more`,
      state: 'buying',
      have: new Uint8Array(),
      pieces: rest.reduce((a, d) => a + d.pieces, 0),
      havePieces: rest.reduce((a, d) => a + d.havePieces, 0),
    })
  }
  return [lanes, at]
}

/** A device past buying holds everything, also when its last word carried no bitmap. */
const filled = (d: DeviceRelease): Uint8Array =>
  d.pieces > 0 && d.havePieces === d.pieces
    ? new Uint8Array(Math.ceil(d.pieces / 8)).fill(0xff)
    : new Uint8Array()

function threadsOf(
  view: ReleaseView,
  sellerAt: ReadonlyMap<string, number>,
  laneAt: ReadonlyMap<string, number>,
): Thread[] {
  const threads = new Map<string, Thread>()
  for (const edge of flowing(view)) {
    const seller = sellerAt.get(edge.seller)
    const lane = laneAt.get(edge.device)
    if (seller === undefined || lane === undefined) continue
    const id = `${seller}-${lane}`
    const before = threads.get(id)
    threads.set(id, {
      id,
      seller,
      lane,
      rateBps: (before?.rateBps ?? 0) + edge.rateBps,
      pieces: (before?.pieces ?? 0) + edge.pieces,
      paidMsat: (before?.paidMsat ?? 0) + edge.paidMsat,
    })
  }
  return [...threads.values()].sort((a, b) => a.seller - b.seller || a.lane - b.lane)
}

function fleetOf(devices: readonly DeviceRelease[]): { fleet: Cell[]; perCell: number } {
  const perCell = Math.max(1, Math.ceil(devices.length / FLEET_SQUARES))
  const fleet: Cell[] = []
  for (let i = 0; i < devices.length; i += perCell) {
    const group = devices.slice(i, i + perCell)
    // A shared square shows its worst device, so that one bad device is a red frame among 10,000.
    const worst = group.reduce((a, b) => (rank(b) < rank(a) ? b : a))
    const pieces = group.reduce((a, d) => a + d.pieces, 0)
    const have = group.reduce((a, d) => a + d.havePieces, 0)
    const state = shownState(worst.state)
    fleet.push({
      key: worst.device,
      title: group.length === 1 ? `${worst.name}: ${worst.state}` : `${group.length} devices: ${worst.state}`,
      state,
      share: pieces > 0 ? have / pieces : 0,
      devices: group.length,
    })
  }
  return { fleet, perCell }
}

const ORDER: readonly DeviceRelease['state'][] = [
  'failed',
  'rolled back',
  'buying',
  'installing',
  'verified',
  'queued',
  'announced',
  'waiting',
  'healthy',
]
const rank = (d: DeviceRelease): number => ORDER.indexOf(d.state)

/** Trouble first, then what moves, then what waits, healthy last. Stable within a state. */
export const byTrouble = (a: DeviceRelease, b: DeviceRelease): number => rank(a) - rank(b)

export const inTrouble = (d: DeviceRelease): boolean =>
  TROUBLE.includes(d.state) || d.verdict?.tag === 'refused' || d.needMsat !== undefined

/** `18 of 30 healthy, 1 rolled back`. */
export function progressSentence(view: ReleaseView): string {
  const parts = [`${view.healthy} of ${view.enrolled} healthy`]
  for (const state of ['rolled back', 'failed', 'buying'] as const) {
    if (view.counts[state] > 0) parts.push(`${view.counts[state]} ${state}`)
  }
  return parts.join(', ')
}

function sentenceOf(view: ReleaseView, sellers: readonly SellerRow[]): string {
  const barred = sellers.filter((s) => s.barred !== undefined).length
  return `Swarm: ${sellers.length} sellers${barred > 0 ? ` (${barred} barred)` : ''} serve ${view.enrolled} devices; ${progressSentence(view)}.`
}
