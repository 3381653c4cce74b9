/** What a page of an admitted vendor listens to: its roster, who asks to join, the fleet, cheats, and what waits. */
import type { PartyKey, VendorId } from '../../core/bytes.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import { liveCell, type LiveCell } from '../../core/live.ts'
import { tagValue } from '../../core/nostr/event.ts'
import { GIFT_WRAP, JOIN_REQUEST, RELEASE, REPORT, REPORT_ADDENDUM } from '../../core/nostr/kinds.ts'
import type { FleetView } from '../../core/rollout/fleet.ts'
import type { Roster } from '../../core/rollout/messages.ts'
import { emptyRoster, isMember } from '../../core/rollout/roster.ts'
import { unwrap } from '../nostr/nip59.ts'
import { createCheats } from '../swarm/cheats.ts'
import { memoryJournal } from '../swarm/memory.ts'
import type { JoinRequestView, VendorDeps, WaitingView } from './api.ts'
import { watchApprovals, type Approvals } from './approvals.ts'
import { watchFleet, type FleetWatch } from './fleet-watch.ts'
import { subscribeAll } from './inbox.ts'
import { createJoining, type Joining } from './joining.ts'
import { createRoom } from './room.ts'
import { syncRoster, type RosterSync } from './roster-sync.ts'
import type { Standing } from './standing.ts'

/** Messages remembered, so that none is read twice: the fleet's, and apart from them those of unknown keys. */
const MAX_RUMOURS = { members: 50_000, each: 1000, strangers: 5000 } as const

/** There before a session is, and after it. */
export type Views = Readonly<{
  roster: LiveCell<Roster>
  joinRequests: LiveCell<readonly JoinRequestView[]>
  fleet: LiveCell<FleetView>
  cheats: LiveCell<readonly Cheat[]>
  waiting: LiveCell<readonly WaitingView[]>
}>

export const emptyViews = (): Views => ({
  roster: liveCell<Roster>(emptyRoster),
  joinRequests: liveCell<readonly JoinRequestView[]>([]),
  fleet: liveCell<FleetView>({ devices: [], unenrolled: [], releases: [] }),
  cheats: liveCell<readonly Cheat[]>([]),
  waiting: liveCell<readonly WaitingView[]>([]),
})

export type Session = Readonly<{
  roster: RosterSync
  joining: Joining
  fleet: FleetWatch
  approvals: Approvals
  close: () => void
}>

/** What the engine does when news comes. */
export type Handlers = Readonly<{
  /** Somebody else's signature has published something. */
  onPublished: () => void
  /** All stored announcements are in. */
  onAnnouncements: () => void
}>

export function openSession(
  deps: VendorDeps,
  vendor: VendorId,
  standing: Standing,
  views: Views,
  { onPublished, onAnnouncements }: Handlers,
): Session {
  const { keys, pool } = deps
  const me = keys.nostr
  const rosterSync = syncRoster(deps, vendor)
  const joining = createJoining(deps, vendor, rosterSync)
  const watch = watchFleet(deps, vendor, standing.releases, rosterSync.roster)
  const isKnown = (device: PartyKey) => isMember(rosterSync.roster.get(), device)
  const approvals = watchApprovals(deps, vendor, onPublished)
  const book = createCheats({
    pool,
    // Nothing of it is kept: the relay tells it again.
    journal: memoryJournal(),
    identity: me,
    vouches: true,
    nowMs: deps.nowMs,
    random: () => deps.random(4).reduce((sofar, byte) => (sofar + byte) / 256, 0),
    randomBytes: deps.random,
    ...(deps.log && { log: deps.log }),
  })
  /** Its devices and approved distributors are heard before strangers. */
  const follow = () => {
    const devices = rosterSync.roster.get().devices.map((one) => one.key)
    const approved = standing.verified()?.vendorBlock.distributors ?? []
    const releases = standing.releases.get().map((one) => one.release)
    book.follow(vendor, releases, [...devices, ...approved])
  }
  const heard = createRoom<true>(MAX_RUMOURS, isKnown)
  let ended = false
  /** After the roster: only then is it known who speaks for the fleet. */
  const listen = () => {
    if (ended) return
    const own = [me, ...(keys.formerNostr ?? [])]
    const end = subscribeAll(pool, { kinds: [GIFT_WRAP], '#p': own.map(({ key }) => key) }, (event) => {
      const to = own.find(({ key }) => key === tagValue(event, 'p')) ?? me
      const rumour = unwrap(event, to.secret)
      if (!rumour || !heard.add(rumour.id, rumour.pubkey, true)) return
      if (rumour.kind === JOIN_REQUEST) joining.heard(rumour)
      else if (rumour.kind === REPORT) watch.heardReport(rumour)
      else if (rumour.kind === REPORT_ADDENDUM) watch.heardAddendum(rumour)
    })
    ends.push(end)
  }
  void rosterSync.stored.then(listen)
  const announcements = { kinds: [RELEASE], authors: [me.key], '#i': [vendor] }
  const ends = [
    rosterSync.roster.subscribe((value) => {
      views.roster.set(value)
      follow()
    }),
    standing.releases.subscribe(follow),
    book.proven.subscribe((value) => views.cheats.set([...value.values()])),
    joining.requests.subscribe((value) => views.joinRequests.set(value)),
    watch.fleet.subscribe((value) => views.fleet.set(value)),
    approvals.waiting.subscribe((value) => views.waiting.set(value)),
    subscribeAll(pool, announcements, (event) => standing.heard(event), onAnnouncements),
  ]
  return {
    roster: rosterSync,
    joining,
    fleet: watch,
    approvals,
    close() {
      ended = true
      for (const end of ends) end()
      void book.stop()
      watch.close()
      approvals.close()
      joining.close()
      rosterSync.close()
    },
  }
}
