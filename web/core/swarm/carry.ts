/**
 * Which releases a distributor keeps inside its disk limit. Pure: the same releases and limit give the same
 * plan in any order. What makes room first: what is not followed, withdrawn, superseded; then what most others
 * sell; then what earns least per byte.
 */
import type { InfoHash } from '../bytes.ts'

/** `unfollowed`: its owner chose other vendors. */
export type CarryStanding = 'current' | 'superseded' | 'withdrawn' | 'unfollowed'

export type CarryReason =
  | 'unfollowed'
  | 'withdrawn'
  | 'superseded'
  /** Room for a release that is wanted more. */
  | 'made room'
  /** Its owner lowered the disk limit. */
  | 'limit lowered'

export type CarryItem = Readonly<{
  infoHash: InfoHash
  bytes: number
  /** Some of it is on disk or it is being fetched. */
  held: boolean
  /** It had to make room before: it comes back only when it is clearly wanted more than what it would displace. */
  evictedBefore: boolean
  standing: CarryStanding
  otherSellers: number
  /** Earned with it so far. */
  earnedMsat: number
  /** When it was released, Unix seconds. */
  releasedAt: number
  /** Unix ms of the last sale, or of taking it. */
  lastUsefulAtMs: number
}>

export type CarryPlan = Readonly<{
  keep: readonly InfoHash[]
  fetch: readonly InfoHash[]
  evict: readonly Readonly<{ infoHash: InfoHash; reason: CarryReason }>[]
  /** Wanted, but larger than the limit or than what may make room. */
  noRoom: readonly InfoHash[]
}>

/** A release that had to go comes back only if this many sellers fewer have it than what it would displace. */
export const RETURN_MARGIN_SELLERS = 2
/** A withdrawn release that nobody bought for so long makes room unasked. */
export const WITHDRAWN_IDLE_MS = 24 * 60 * 60 * 1000

const RANK: Readonly<Record<CarryStanding, number>> = {
  current: 0,
  superseded: 1,
  withdrawn: 2,
  unfollowed: 3,
}

const crowd = (item: CarryItem): number =>
  item.otherSellers + (item.evictedBefore && !item.held ? RETURN_MARGIN_SELLERS : 0)

/** Negative: `a` is wanted more than `b`. A total order: ties end at the info-hash. */
export function compareWanted(a: CarryItem, b: CarryItem): number {
  // Cross products instead of quotients: exact, and an empty file divides nothing.
  const earning = BigInt(b.earnedMsat) * BigInt(a.bytes) - BigInt(a.earnedMsat) * BigInt(b.bytes)
  return (
    RANK[a.standing] - RANK[b.standing] ||
    crowd(a) - crowd(b) ||
    (earning === 0n ? 0 : earning > 0n ? 1 : -1) ||
    b.releasedAt - a.releasedAt ||
    (a.infoHash < b.infoHash ? -1 : a.infoHash > b.infoHash ? 1 : 0)
  )
}

/** Plans what stays, what goes and what is fetched, so that whole files fit into `limitBytes`. */
export function planCarry(items: readonly CarryItem[], limitBytes: number, nowMs: number): CarryPlan {
  const evict: { infoHash: InfoHash; reason: CarryReason }[] = []
  const kept: CarryItem[] = []
  for (const item of items.filter((item) => item.held).sort(compareWanted)) {
    if (item.standing === 'unfollowed') evict.push({ infoHash: item.infoHash, reason: 'unfollowed' })
    else if (item.standing === 'withdrawn' && nowMs - item.lastUsefulAtMs >= WITHDRAWN_IDLE_MS)
      evict.push({ infoHash: item.infoHash, reason: 'withdrawn' })
    else kept.push(item)
  }
  let used = kept.reduce((total, item) => total + item.bytes, 0)
  const drop = (why: CarryReason): void => {
    const worst = kept.pop()
    if (!worst) return
    used -= worst.bytes
    const reason = worst.standing === 'current' ? why : worst.standing
    evict.push({ infoHash: worst.infoHash, reason })
  }
  while (used > limitBytes && kept.length > 0) drop('limit lowered')

  const fetch: CarryItem[] = []
  const noRoom: InfoHash[] = []
  // Only what a device can still want is fetched anew.
  const candidates = items.filter((item) => !item.held && item.standing === 'current').sort(compareWanted)
  for (const candidate of candidates) {
    const fixed = fetch.reduce((total, item) => total + item.bytes, 0)
    const better = kept.filter((item) => compareWanted(item, candidate) < 0)
    const floor = fixed + better.reduce((total, item) => total + item.bytes, 0)
    if (floor + candidate.bytes > limitBytes) {
      noRoom.push(candidate.infoHash)
      continue
    }
    while (used + fixed + candidate.bytes > limitBytes) drop('made room')
    fetch.push(candidate)
  }
  return {
    keep: kept.map((item) => item.infoHash),
    fetch: fetch.map((item) => item.infoHash),
    evict,
    noRoom,
  }
}

/** Among releases of one product for overlapping hardware, the newest signed is current; the others are superseded. */
export function supersededBy(
  release: Readonly<{ product: string; hardware: readonly string[]; path: string }>,
  all: readonly Readonly<{ product: string; hardware: readonly string[]; path: string; version: string }>[],
  newer: (candidate: string, than: string) => boolean,
  version: string,
): string | undefined {
  return all.find(
    (other) =>
      other.path !== release.path &&
      other.product === release.product &&
      release.hardware.every((id) => other.hardware.includes(id)) &&
      newer(other.version, version),
  )?.path
}
