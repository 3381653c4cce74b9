/**
 * Follows one vendor: its signed metadata from the mirror, again whenever a RELEASE event says that there is
 * news, and now and then without one. The metadata decides; events only say "look".
 */
import type { VendorId } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import type { Announcement } from '../../core/release/announce.ts'
import type { Release, VendorBlock } from '../../core/release/target.ts'

/** Verified metadata of one vendor. */
export type VendorMetadata = Readonly<{
  block: VendorBlock
  releases: readonly Release[]
  targetsVersion: number
}>
/** `floor`: the newest targets version that this vendor's key has announced. @throws an error whose message is for a person */
export type ReadVendor = (vendor: VendorId, floor: number) => Promise<VendorMetadata>

export const LOOK_EVERY_MS = 10 * 60_000
/** Waits before looking again after a failure, or when the mirror is older than what an event announced. */
export const RETRY_MS = [1_000, 2_000, 5_000, 15_000, 60_000, 300_000] as const
/** RELEASE events that wait for the vendor's key to be known. */
const HELD_EVENTS = 20

export type VendorView = Readonly<{
  metadata?: VendorMetadata
  checkedAt?: number
  trouble?: string
}>

export interface VendorWatch {
  readonly vendor: VendorId
  readonly view: Live<VendorView>
  /** Newest RELEASE event of this vendor's key, as JSON: the floor that handshakes carry. */
  floor(): string | undefined
  /** A verified RELEASE event that names this vendor, from a relay or a peer. */
  hear(event: NostrEvent, announcement: Announcement): void
  /** Looks at the mirror now; resolves when that is done, whether or not it worked. */
  look(): Promise<void>
  stop(): void
}

type Heard = Readonly<{ event: NostrEvent; announcement: Announcement }>

export function watchVendor(
  deps: Readonly<{ vendor: VendorId; read: ReadVendor; nowMs: () => number }>,
): VendorWatch {
  const view = liveCell<VendorView>({})
  let floor: Heard | undefined
  let held: Heard[] = []
  let running: Promise<void> | undefined
  let again = false
  let failures = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let stopped = false

  function look(): Promise<void> {
    if (stopped) return Promise.resolve()
    if (running) again = true
    running ??= lookUntilCurrent().finally(() => {
      running = undefined
      plan()
    })
    return running
  }

  async function lookUntilCurrent(): Promise<void> {
    do {
      again = false
      await lookOnce()
    } while (again && !stopped && failures === 0)
  }

  async function lookOnce(): Promise<void> {
    clearTimeout(timer)
    try {
      const metadata = await deps.read(deps.vendor, floor?.announcement.targetsVersion ?? 0)
      if (stopped) return
      view.set({ metadata, checkedAt: deps.nowMs() })
      const waiting = held
      held = []
      for (const heard of waiting) accept(heard, metadata)
      failures = behind() ? failures + 1 : 0
    } catch (error) {
      if (stopped) return
      failures++
      const { metadata, checkedAt } = view.get()
      view.set({
        ...(metadata && { metadata }),
        ...(checkedAt !== undefined && { checkedAt }),
        trouble: error instanceof Error ? error.message : String(error),
      })
    }
  }

  const behind = (): boolean =>
    (floor?.announcement.targetsVersion ?? 0) > (view.get().metadata?.targetsVersion ?? 0)

  function plan(): void {
    clearTimeout(timer)
    if (stopped) return
    const wait = failures === 0 ? LOOK_EVERY_MS : RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]!
    timer = setTimeout(() => void look(), wait)
  }

  /** Says whether the event raised the floor. */
  function accept(heard: Heard, metadata: VendorMetadata): boolean {
    if (heard.announcement.author !== metadata.block.nostr) return false
    const { targetsVersion, createdAtS } = heard.announcement
    const known = floor?.announcement
    const newer =
      !known ||
      targetsVersion > known.targetsVersion ||
      (targetsVersion === known.targetsVersion && createdAtS > known.createdAtS)
    if (newer) floor = heard
    return newer
  }

  return {
    vendor: deps.vendor,
    view,
    floor: () => floor && JSON.stringify(floor.event),
    hear(event, announcement) {
      const { metadata } = view.get()
      // Until the vendor's key is known anybody could have written it: kept, and the mirror asked once.
      if (!metadata) {
        if (held.length < HELD_EVENTS) held.push({ event, announcement })
        if (!running && failures === 0) void look()
        return
      }
      // Only news asks the mirror: each handshake shows the same event again.
      if (accept({ event, announcement }, metadata) && behind()) void look()
    },
    look,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
