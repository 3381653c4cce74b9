/** Puts together what a distributor shows, from its parts. Pure. */
import type { InfoHash, PartyKey, VendorId } from '../../core/bytes.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { releaseName } from '../../core/release/target.ts'
import type { CarryStanding } from '../../core/swarm/carry.ts'
import { releaseSum, type Earnings } from '../../core/swarm/carry-earnings.ts'
import type { RelayConfig } from '../relay-config.ts'
import type {
  CarryRow,
  DistributorMode,
  DistributorSettings,
  DistributorSnapshot,
  EvictedRow,
  UploadRow,
  VendorRow,
} from './api.ts'
import { DEFAULT_UNPAID_BYTES } from '../../core/exchange/desk-policy.ts'
import type { Carried } from './carried.ts'
import type { CarryRecord } from './records.ts'
import type { VendorWatch } from './vendor-watch.ts'
import type { WalletView } from './wallet-watch.ts'

const UPLOAD_ROWS = 50

export type SnapshotParts = Readonly<{
  mode: DistributorMode
  config: RelayConfig
  settings: DistributorSettings
  wallet: WalletView | undefined
  relay: Readonly<{ connected: boolean; sinceMs: number }>
  earnings: Earnings
  evicted: readonly EvictedRow[]
  carried: readonly Carried[]
  follows: (vendor: VendorId) => boolean
  watches: ReadonlyMap<VendorId, VendorWatch>
  others: (infoHash: InfoHash) => readonly Readonly<{ seller: PartyKey; price: Msat }>[]
  otherSellers: (infoHash: InfoHash) => number
  standing: (record: CarryRecord) => CarryStanding
  troubles: readonly string[]
}>

export function buildSnapshot(parts: SnapshotParts): DistributorSnapshot {
  const { carried, earnings, settings } = parts
  const shops = carried.map((at) => at.view.get().shop).filter((shop) => shop !== undefined)
  const uploads = carried
    .flatMap((at): UploadRow[] => {
      const { infoHash } = at.record.release
      const sales = at.view.get().shop?.sales ?? []
      return sales.map((sale) => ({ ...sale, infoHash, release: releaseName(at.record.release) }))
    })
    .sort((a, b) => b.at - a.at || (a.id < b.id ? -1 : 1))
    .slice(0, UPLOAD_ROWS)
  const caps = carried.map((at) => at.record.release.priceCapMsat)
  // A seller counts once, by its lowest price.
  const lowest = new Map<PartyKey, Msat>()
  for (const at of carried)
    for (const { seller, price } of parts.others(at.record.release.infoHash))
      lowest.set(seller, msat(Math.min(price, lowest.get(seller) ?? price)))
  // While the relay is away that is said once, not again for a wallet which lives there.
  const away = !parts.relay.connected && parts.wallet?.connected === false
  const walletTrouble = away ? undefined : parts.wallet?.trouble
  return {
    mode: parts.mode,
    money: parts.config.money,
    settings,
    ...(parts.wallet && { wallet: parts.wallet }),
    relay: parts.relay,
    earnings,
    justPaid: earnings.paid,
    rateBps: shops.reduce((total, shop) => total + shop.rateBps, 0),
    buyers: new Set(uploads.filter(isUnderWay).map((row) => row.buyer)).size,
    unpaidBytes: shops.reduce((total, shop) => total + shop.unpaidBytes, 0),
    unpaidLimitBytes: DEFAULT_UNPAID_BYTES,
    uploads,
    carrying: carried.map((at) => carryRow(at, parts)).sort(byName),
    evicted: parts.evicted,
    vendors: vendorRows(parts),
    disk: {
      usedBytes: carried.reduce((total, at) => total + at.view.get().onDiskBytes, 0),
      limitBytes: settings.diskLimitBytes,
    },
    otherPrices: [...lowest.values()].sort((a, b) => a - b),
    ...(caps.length > 0 && { priceCap: msat(Math.max(...caps)) }),
    troubles: [
      ...parts.troubles,
      ...(walletTrouble ? [walletTrouble] : []),
      ...(away
        ? []
        : new Set(shops.flatMap(({ trouble }) => (trouble && trouble !== walletTrouble ? [trouble] : [])))),
    ],
  }
}

export const isUnderWay = (row: Pick<UploadRow, 'state'>): boolean =>
  row.state === 'sending' || row.state === 'waiting'

function carryRow(at: Carried, parts: SnapshotParts): CarryRow {
  const { release, vendor, vendorName } = at.record
  const view = at.view.get()
  const buyers = new Set((view.shop?.sales ?? []).filter(isUnderWay).map((sale) => sale.buyer))
  return {
    infoHash: release.infoHash,
    vendor,
    vendorName,
    name: releaseName(release),
    fileName: release.fileName,
    encrypted: release.confidential !== undefined,
    bytes: release.bytes,
    onDiskBytes: view.onDiskBytes,
    pieces: view.pieces,
    have: view.have,
    state: view.state,
    standing: parts.standing(at.record),
    otherSellers: parts.otherSellers(release.infoHash),
    buyers: buyers.size,
    peers: view.connected,
    today: releaseSum(parts.earnings, release.infoHash).today,
    spent: view.spent,
  }
}

function vendorRows(parts: SnapshotParts): VendorRow[] {
  const names = new Map<VendorId, string>(parts.config.vendors.map((vendor) => [vendor.id, vendor.name]))
  for (const { record } of parts.carried)
    if (!names.has(record.vendor)) names.set(record.vendor, record.vendorName)
  return [...names].map(([id, listed]) => {
    const view = parts.watches.get(id)?.view.get()
    return {
      id,
      name: view?.metadata?.block.name || listed,
      followed: parts.follows(id),
      releases: view?.metadata?.releases.length ?? 0,
      ...(view?.checkedAt !== undefined && { checkedAt: view.checkedAt }),
      ...(view?.trouble !== undefined && { trouble: view.trouble }),
    }
  })
}

const byName = (a: CarryRow, b: CarryRow): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
