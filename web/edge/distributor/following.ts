/** Follows the vendors of a relay: those it admits later too, told apart by what their RELEASE events name. */
import type { VendorId } from '../../core/bytes.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { readAnnouncement } from '../../core/release/announce.ts'
import { fetchRelayConfig, type RelayConfig } from '../relay-config.ts'
import { watchVendor, type ReadVendor, type VendorWatch } from './vendor-watch.ts'

/** RELEASE events of unknown vendors ask the relay for its vendors, at most so often, and until it has answered. */
const CONFIG_EVERY_MS = 10_000

export interface Following {
  readonly watches: ReadonlyMap<VendorId, VendorWatch>
  readonly config: RelayConfig
  /** Starts and ends watches as `follows` says now. */
  apply(): void
  /** A verified RELEASE event, from a relay or a peer. */
  hear(event: NostrEvent): void
  /** Asks the relay who its vendors are now. */
  askConfig(): Promise<void>
  stop(): void
}

export function followVendors(
  deps: Readonly<{
    relayUrl: string
    config: RelayConfig
    fetch: typeof globalThis.fetch
    read: ReadVendor
    follows: (vendor: VendorId) => boolean
    /** Vendors of what is carried: the relay may have forgotten them. */
    carried: () => Iterable<VendorId>
    running: () => boolean
    onChange: () => void
    nowMs: () => number
    log: (event: string, detail: Readonly<Record<string, unknown>>) => void
  }>,
): Following {
  const { nowMs } = deps
  const watches = new Map<VendorId, VendorWatch>()
  let config = deps.config
  let askedAt = -Infinity
  let askTimer: ReturnType<typeof setTimeout> | undefined

  function apply(): void {
    if (!deps.running()) return
    const known = new Set<VendorId>([...config.vendors.map((vendor) => vendor.id), ...deps.carried()])
    for (const vendor of known) {
      if (watches.has(vendor) || !deps.follows(vendor)) continue
      const watch = watchVendor({ vendor, read: deps.read, nowMs })
      watches.set(vendor, watch)
      let first = true
      watch.view.subscribe(() => {
        if (!first) deps.onChange()
        first = false
      })
      void watch.look()
    }
    for (const [vendor, watch] of watches) {
      if (deps.follows(vendor)) continue
      watch.stop()
      watches.delete(vendor)
    }
  }

  function askSoon(): void {
    const wait = Math.max(0, askedAt + CONFIG_EVERY_MS - nowMs())
    askTimer ??= setTimeout(() => void askConfig(), Math.min(wait, CONFIG_EVERY_MS))
  }

  async function askConfig(): Promise<void> {
    clearTimeout(askTimer)
    askTimer = undefined
    askedAt = nowMs()
    try {
      const next = await fetchRelayConfig(deps.relayUrl, deps.fetch)
      // Other money would be another relay: that needs a new start, and its owner's eye.
      if (next.money !== config.money) return
      config = next
      apply()
      deps.onChange()
    } catch (error) {
      deps.log('config-failed', { error: error instanceof Error ? error.message : String(error) })
      if (deps.running()) askSoon()
    }
  }

  return {
    watches,
    get config() {
      return config
    },
    apply,
    askConfig,
    hear(event) {
      const announcement = readAnnouncement(event)
      if (!announcement) return
      const { vendor } = announcement
      const watch = watches.get(vendor)
      if (watch) return watch.hear(event, announcement)
      if (config.vendors.some((known) => known.id === vendor)) return // not followed
      askSoon()
    },
    stop() {
      clearTimeout(askTimer)
      askTimer = undefined
      for (const watch of watches.values()) watch.stop()
      watches.clear()
    },
  }
}
