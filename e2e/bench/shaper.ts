/**
 * Capped links for both contenders alike: one process that stands between the peers and their tracker and carries all
 * their UDP (see `shaper/`). Works for stock webtorrent and for the product, in Node and in Chromium with mDNS hiding off.
 */
import { startChild } from './children.ts'
import type { ShaperConfig } from './children/shaper.ts'
import type { UplinkCount, UplinkOptions } from './shaper/uplink.ts'

export type { UplinkCount, UplinkOptions } from './shaper/uplink.ts'

export interface Shaper {
  /** The tracker that the peer of this lane must use, and no other. */
  trackerOf(lane: number): string
  /** The port at which the server of this forward is reached through its lane. */
  portOf(forward: number): number
  /** What each lane has carried so far. */
  counts(): Promise<readonly UplinkCount[]>
  stop(): Promise<void>
}

const READY_MS = 30_000

export async function startShaper(
  upstream: string,
  lanes: readonly UplinkOptions[],
  forwards: ShaperConfig['forwards'] = [],
): Promise<Shaper> {
  const config: ShaperConfig = { upstream, lanes, forwards }
  const child = startChild({ program: 'shaper.ts', config })
  const { detail } = await child.next('ready', READY_MS)
  const { trackers, ports } = detail as { trackers: string[]; ports: number[] }
  return {
    trackerOf: (lane) => trackers[lane] ?? '',
    portOf: (forward) => ports[forward] ?? 0,
    counts: async () => (await child.ask('count')).detail['lanes'] as readonly UplinkCount[],
    stop: () => child.stop(),
  }
}
