/** What anyone may see of a vendor, without keys: verified releases, and how many keys say that they run them. */
import { liveCell } from '../../core/live.ts'
import { tagValue, type NostrEvent } from '../../core/nostr/event.ts'
import { ATTESTATION, RELEASE } from '../../core/nostr/kinds.ts'
import { readAnnouncement } from '../../core/release/announce.ts'
import { announcersOf } from '../../core/release/announcers.ts'
import { failureText, lastVerified, refresh, type Verified } from '../release/mirror.ts'
import { vendorStore } from './signing.ts'
import { subscribeAll } from './inbox.ts'
import type { CreatePublicView, PublicRelease } from './api.ts'

const REFRESH_MS = 60_000
const RETRY_MS = 5_000
/** Attestations remembered; keys are free, so a flood must end somewhere. */
const MAX_ATTESTATIONS = 20_000
/** Counting all of them takes time: at most this often. */
const SHOW_MS = 250

export const createPublicView: CreatePublicView = (deps) => {
  const { vendor, pool, nowMs } = deps
  const name = liveCell('')
  const releases = liveCell<readonly PublicRelease[]>([])
  const trouble = liveCell<string | undefined>(undefined)
  const store = vendorStore(deps, vendor)
  /** By path and key: the latest word of each key counts. */
  const words = new Map<string, { path: string; sha256: string; outcome: string; at: number }>()
  let verified: Verified | undefined
  let floor = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let showing: ReturnType<typeof setTimeout> | undefined
  let running = false
  /** Something newer was announced while an update was under way. */
  let again = false
  let closed = false
  let endAnnouncements: (() => void) | undefined

  function showSoon(): void {
    showing ??= setTimeout(() => {
      showing = undefined
      show()
    }, SHOW_MS)
  }
  function show(): void {
    if (!verified) return
    name.set(verified.vendorBlock.name)
    const said = [...words.values()]
    releases.set(
      verified.releases.map((release) => {
        const count = (outcome: string) =>
          said.filter(
            (word) =>
              word.path === release.path && word.sha256 === release.sha256 && word.outcome === outcome,
          ).length
        return {
          release,
          healthy: count('healthy'),
          rolledBack: count('rolled back'),
          failed: count('failed'),
        }
      }),
    )
  }

  async function update(): Promise<void> {
    if (running || closed) {
      again = true
      return
    }
    running = true
    again = false
    clearTimeout(timer)
    const options = { mirrors: [deps.relayUrl], vendor, store, nowMs: nowMs(), fetch: deps.fetch, floor }
    const result = await refresh(options)
    running = false
    if (closed) return
    if (result.tag === 'ok') adopt(result.verified)
    trouble.set(result.tag === 'ok' ? undefined : failureText(result))
    show()
    if (again && result.tag === 'ok') void update()
    else timer = setTimeout(() => void update(), result.tag === 'ok' ? REFRESH_MS : RETRY_MS)
  }

  /** From then on it is known who may announce. */
  function adopt(next: Verified): void {
    verified = next
    endAnnouncements ??= subscribeAll(pool, { kinds: [RELEASE], '#i': [vendor] }, announced)
  }
  function announced(event: NostrEvent): void {
    const announcement = readAnnouncement(event)
    if (!announcement || !verified) return
    const { author, product } = announcement
    const { root, targets } = verified.current
    const who = announcersOf(root.signed, targets.signed, verified.vendorBlock)(author, product)
    if (who !== 'vendor' && who !== 'signer') return
    if (who === 'vendor') floor = Math.max(floor, announcement.targetsVersion)
    if (announcement.targetsVersion > verified.targetsVersion) void update()
  }

  const endAttestations = subscribeAll(pool, { kinds: [ATTESTATION], '#i': [vendor] }, (event) => {
    const path = tagValue(event, 'd')
    const sha256 = tagValue(event, 'x')
    const outcome = tagValue(event, 'l')
    if (!path || !sha256 || !outcome) return
    const slot = `${event.pubkey} ${path}`
    const before = words.get(slot)
    if (before ? before.at > event.created_at : words.size >= MAX_ATTESTATIONS) return
    words.set(slot, { path, sha256, outcome, at: event.created_at })
    showSoon()
  })
  void lastVerified(vendor, store, nowMs()).then(
    (last) => {
      if (!last || verified || closed) return
      adopt(last)
      show()
    },
    () => undefined,
  )
  void update()

  return {
    name,
    releases,
    trouble,
    close() {
      closed = true
      clearTimeout(timer)
      clearTimeout(showing)
      endAnnouncements?.()
      endAttestations()
    },
  }
}
