/** Which release a device takes next, and why it takes none of the others. */
import type { Msat } from '../money/msat.ts'
import type { Release } from './target.ts'
import { compareVersions, isNewer } from './version.ts'

export type DeviceFacts = Readonly<{
  hardware: string
  /** Product -> version that runs now. */
  installed: Readonly<Record<string, string>>
  /** The device's own cap, msat per MiB. Absent: the vendor's holds. */
  priceCapMsat?: Msat
  /** Bytes that it has room for. Absent: unknown. */
  roomBytes?: number
  /** Paths that failed or were rolled back here: not tried again. */
  failed: ReadonlySet<string>
  /** The owner's install command takes the artifact and is told the installer that a release names; slots take plain files only. */
  handsOver?: boolean
  /** Products that it wants; absent: those of its hardware. */
  products?: ReadonlySet<string>
}>

export type Why =
  | Readonly<{ tag: 'other-hardware'; hardware: readonly string[] }>
  | Readonly<{ tag: 'other-product' }>
  /** What its bytes are is signed too, and this device can do nothing with such (IMG.FORMAT, RFC 9124). */
  | Readonly<{ tag: 'other-format'; format: string }>
  | Readonly<{ tag: 'not-newer'; installed: string }>
  | Readonly<{ tag: 'upgrades-from'; needs: string; installed: string }>
  | Readonly<{ tag: 'failed-before' }>
  | Readonly<{ tag: 'no-room'; needsBytes: number; roomBytes: number }>
  /** Fits, and another fits better. */
  | Readonly<{ tag: 'superseded'; by: string }>

export type Refused = Readonly<{ release: Release; why: Why }>
export type Choice =
  | Readonly<{ tag: 'take'; release: Release; priceCapMsat: Msat; refused: readonly Refused[] }>
  | Readonly<{ tag: 'nothing'; refused: readonly Refused[] }>

/** The newest release that fits; between products, the one signed first, so that each gets its turn. */
export function choose(releases: readonly Release[], device: DeviceFacts): Choice {
  const refused: Refused[] = []
  const fitting: Release[] = []
  for (const release of releases) {
    const why = unfitFor(release, device)
    if (why) refused.push({ release, why })
    else fitting.push(release)
  }
  const newest = new Map<string, Release>()
  for (const release of fitting) {
    const best = newest.get(release.product)
    if (!best || before(best, release)) newest.set(release.product, release)
  }
  const release = [...newest.values()].sort(
    (a, b) => a.releasedAt - b.releasedAt || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0),
  )[0]
  if (!release) return { tag: 'nothing', refused }
  for (const other of fitting) {
    if (other !== release) refused.push({ release: other, why: { tag: 'superseded', by: release.path } })
  }
  const cap = device.priceCapMsat
  const priceCapMsat = cap !== undefined && cap < release.priceCapMsat ? cap : release.priceCapMsat
  return { tag: 'take', release, priceCapMsat, refused }
}

/** Same version twice (other hardware lists, a delta): the one signed later, then by path, so that all agree. */
const before = (a: Release, b: Release): boolean =>
  (compareVersions(a.version, b.version) || a.releasedAt - b.releasedAt || (a.path < b.path ? -1 : 1)) < 0

/** Why the device must not take this release. */
export function unfitFor(release: Release, device: DeviceFacts): Why | undefined {
  if (!release.hardware.includes(device.hardware))
    return { tag: 'other-hardware', hardware: release.hardware }
  if (device.products && !device.products.has(release.product)) return { tag: 'other-product' }
  const format = formatBeyond(release, device)
  if (format !== undefined) return { tag: 'other-format', format }
  const installed = Object.hasOwn(device.installed, release.product)
    ? device.installed[release.product]
    : undefined
  if (installed !== undefined && !isNewer(release.version, installed)) return { tag: 'not-newer', installed }
  const needs = release.upgradesFrom
  if (installed !== undefined && needs !== undefined && compareVersions(installed, needs) < 0) {
    return { tag: 'upgrades-from', needs, installed }
  }
  if (device.failed.has(release.path)) return { tag: 'failed-before' }
  if (device.roomBytes !== undefined && release.bytes > device.roomBytes) {
    return { tag: 'no-room', needsBytes: release.bytes, roomBytes: device.roomBytes }
  }
  return undefined
}

/** What the artifact is, where the device would take it for something else. */
function formatBeyond({ deltaFrom, installer }: Release, { handsOver }: DeviceFacts): string | undefined {
  if (deltaFrom !== undefined) return 'a delta, which no device applies yet'
  if (installer === undefined || handsOver === true) return undefined
  return `for the installer "${installer}", and this device has no install command`
}

/** The reason in words for a person. */
export function whyText({ release, why }: Refused): string {
  switch (why.tag) {
    case 'other-hardware':
      return `${release.product} ${release.version} is for ${why.hardware.join(', ')}`
    case 'other-product':
      return `${release.product} is not a product that this device takes`
    case 'other-format':
      return `${release.product} ${release.version} is ${why.format}`
    case 'not-newer':
      return `${release.product} ${release.version} is not newer than ${why.installed}, which is installed`
    case 'upgrades-from':
      return `${release.product} ${release.version} upgrades from ${why.needs} or later; ${why.installed} is installed`
    case 'failed-before':
      return `${release.product} ${release.version} failed on this device before`
    case 'no-room':
      return `${release.product} ${release.version} needs ${why.needsBytes} bytes; there is room for ${why.roomBytes}`
    case 'superseded':
      return `${release.product} ${release.version} waits or is passed over for ${why.by}`
    default:
      return why satisfies never
  }
}
