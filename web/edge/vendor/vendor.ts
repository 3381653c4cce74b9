/**
 * The vendor engine: admission, publishing, the roster and the live fleet, composed from the parts beside it.
 * The interface is documented in `api.ts`.
 */
import * as v from 'valibot'
import { type PartyKey, type Sha256Hex, type VendorId } from '../../core/bytes.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import { liveCell } from '../../core/live.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { GIFT_WRAP, JOIN_REQUEST, RELEASE, REPORT, REPORT_ADDENDUM } from '../../core/nostr/kinds.ts'
import { readAnnouncement, type Announcement } from '../../core/release/announce.ts'
import { checkDelegate, readDelegates, withDelegate, withoutDelegate } from '../../core/release/delegate.ts'
import { readPeople } from '../../core/release/people.ts'
import { MAX_MIRRORS, mirrorUrlSchema, type Release } from '../../core/release/target.ts'
import { keyId, type Delegations } from '../../core/release/tuf.ts'
import type { FleetView, KnownRelease } from '../../core/rollout/fleet.ts'
import type { Roster } from '../../core/rollout/messages.ts'
import { checkDescription, describe, emptyRoster, isEnrolled, revoke } from '../../core/rollout/roster.ts'
import { MetainfoError, readMetainfo } from '../../core/swarm/metainfo.ts'
import { unwrap } from '../nostr/nip59.ts'
import { putTorrent } from '../release/api.ts'
import { failureText, fetchTorrent, lastVerified, type Verified } from '../release/mirror.ts'
import { createCheats } from '../swarm/cheats.ts'
import { memoryJournal } from '../swarm/memory.ts'
import {
  VendorError,
  type CreateVendor,
  type JoinRequestView,
  type Outcome,
  type SigningView,
  type VendorStatus,
  type WaitingView,
} from './api.ts'
import { approve, changeRoot, look, watchApprovals, type Approvals } from './approvals.ts'
import { watchFleet, type FleetWatch } from './fleet-watch.ts'
import { checkForm, entriesOf, normalised } from './form.ts'
import { subscribeAll } from './inbox.ts'
import { createJoining, type Joining } from './joining.ts'
import { createRoom } from './room.ts'
import { syncRoster, type RosterSync } from './roster-sync.ts'
import {
  admit,
  announce,
  changeTargets,
  findVendor,
  refreshOwn,
  rethrow,
  vendorStore,
  withdrawnRelease,
  type TargetsDraft,
} from './signing.ts'

/** Between attempts to reach a relay that does not answer. */
const RETRY_MS = [1000, 2000, 5000, 10_000, 30_000] as const
/** Targets hold 30 days; a page that opens with less than this left signs them again. */
const RESIGN_BELOW_MS = 20 * 86_400_000
const PUBLISH_TIMEOUT_MS = 20_000
/** Messages remembered, so that none is read twice: the fleet's, and apart from them those of unknown keys. */
const MAX_RUMOURS = { members: 50_000, strangers: 5000 } as const

type Session = Readonly<{
  roster: RosterSync
  joining: Joining
  fleet: FleetWatch
  approvals: Approvals
  close: () => void
}>

export const createVendor: CreateVendor = (deps) => {
  const { keys, pool, store } = deps
  const me = keys.nostr
  const home = `vendor/${keyId(keys.rootKey).slice(0, 16)}/${deps.config.relayKey.slice(0, 16)}`

  const status = liveCell<VendorStatus>({ tag: 'starting' })
  const releases = liveCell<readonly KnownRelease[]>([])
  const roster = liveCell<Roster>(emptyRoster)
  const joinRequests = liveCell<readonly JoinRequestView[]>([])
  const fleet = liveCell<FleetView>({ devices: [], unenrolled: [], releases: [] })
  const cheats = liveCell<readonly Cheat[]>([])
  const floor = liveCell<string | undefined>(undefined)
  const signing = liveCell<SigningView | undefined>(undefined)
  const waiting = liveCell<readonly WaitingView[]>([])

  let closed = false
  let vendor: VendorId | undefined
  let verified: Verified | undefined
  let session: Session | undefined
  let retry: ReturnType<typeof setTimeout> | undefined
  /** The newest RELEASE event of each `product@version`. */
  const announced = new Map<string, Announcement>()
  let newest: Announcement | undefined
  /** Releases withdrawn, by SHA-256; `undefined` while being fetched. */
  const withdrawn = new Map<string, KnownRelease | undefined>()
  let queue: Promise<unknown> = Promise.resolve()

  const approved = () => verified?.vendorBlock.distributors ?? []
  const floorVersion = () => newest?.targetsVersion ?? 0
  const later = (run: () => void, attempt: number) => {
    clearTimeout(retry)
    retry = setTimeout(run, RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)])
  }

  /** Signings of this tab come one after the other. */
  function inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = queue.then(() => {
      if (closed) throw new VendorError('closed', 'This page is closing. Nothing was published.')
      return run()
    })
    queue = turn.catch(() => undefined)
    return turn
  }

  function adopt(next: Verified): void {
    verified = next
    status.set({
      tag: 'ready',
      vendor: next.vendor,
      name: next.vendorBlock.name,
      targetsVersion: next.targetsVersion,
      targetsExpireAt: next.targetsExpireAt,
      approved: next.vendorBlock.distributors,
    })
    const { root, targets } = next.current
    signing.set({
      vendor: next.vendor,
      root: root.signed,
      draft: readPeople(root.signed),
      delegates: readDelegates(targets.signed.delegations),
    })
    showReleases()
  }

  function showReleases(): void {
    if (!verified) return
    const live = verified.releases.map((release): KnownRelease => {
      return { release, status: 'live', publishedAt: release.releasedAt * 1000 }
    })
    const paths = new Set(live.map((one) => one.release.path))
    const gone = [...withdrawn.values()].filter((one) => one !== undefined && !paths.has(one.release.path))
    releases.set([...live, ...(gone as KnownRelease[])].sort((a, b) => b.publishedAt - a.publishedAt))
    for (const announcement of announced.values()) {
      if (announcement.status === 'withdrawn') void lookUpWithdrawn(announcement, verified)
    }
  }

  async function lookUpWithdrawn({ sha256, targetsVersion }: Announcement, base: Verified): Promise<void> {
    if (withdrawn.has(sha256) || targetsVersion > base.targetsVersion) return
    withdrawn.set(sha256, undefined)
    const release = await withdrawnRelease(deps, base, sha256, targetsVersion)
    if (closed) return
    if (!release) return void withdrawn.delete(sha256)
    withdrawn.set(sha256, { release, status: 'withdrawn', publishedAt: release.releasedAt * 1000 })
    showReleases()
  }

  async function update(id: VendorId, attempt = 0): Promise<void> {
    const result = await refreshOwn(deps, id, floorVersion())
    if (closed) return
    if (result.tag === 'ok') {
      adopt(result.verified)
      return
    }
    deps.log?.('vendor refresh failed', { tag: result.tag, text: failureText(result) })
    // What was verified before goes on being shown; only a page that has nothing says so.
    if (!verified) status.set({ tag: 'trouble', text: failureText(result) })
    later(() => void update(id, attempt + 1), attempt)
  }

  function onRelease(event: NostrEvent): void {
    const announcement = readAnnouncement(event)
    if (!announcement || announcement.vendor !== vendor) return
    const name = `${announcement.product}@${announcement.version}`
    const before = announced.get(name)
    if (!before || before.createdAtS <= announcement.createdAtS) announced.set(name, announcement)
    if (!newest || announcement.targetsVersion > newest.targetsVersion) {
      newest = announcement
      floor.set(JSON.stringify(event))
    }
    if (verified && announcement.targetsVersion > verified.targetsVersion)
      void inTurn(() => update(announcement.vendor)).catch(() => undefined)
    else showReleases()
  }

  function open(id: VendorId): void {
    if (session) return
    vendor = id
    const rosterSync = syncRoster(deps, id)
    const joining = createJoining(deps, id, rosterSync)
    const watch = watchFleet(deps, id, releases, rosterSync.roster)
    const isMember = (device: PartyKey) => rosterSync.roster.get().devices.some((one) => one.key === device)
    // Nothing of it is kept: the relay tells it again.
    const approvals = watchApprovals(deps, id, () => void inTurn(afterOthers).catch(() => undefined))
    const book = createCheats({
      pool,
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
      const known = [...rosterSync.roster.get().devices.map((one) => one.key), ...approved()]
      book.follow(
        id,
        releases.get().map((one) => one.release),
        known,
      )
    }
    const heard = createRoom<true>(MAX_RUMOURS, isMember)
    let ended = false
    /** After the roster: only then is it known who speaks for the fleet. */
    const listen = () => {
      if (ended) return
      const end = subscribeAll(pool, { kinds: [GIFT_WRAP], '#p': [me.key] }, (event) => {
        const rumour = unwrap(event, me.secret)
        if (!rumour || !heard.add(rumour.id, rumour.pubkey, true)) return
        if (rumour.kind === JOIN_REQUEST) joining.heard(rumour)
        else if (rumour.kind === REPORT) watch.heardReport(rumour)
        else if (rumour.kind === REPORT_ADDENDUM) watch.heardAddendum(rumour)
      })
      ends.push(end)
    }
    void rosterSync.stored.then(listen)
    const ends = [
      rosterSync.roster.subscribe((value) => {
        roster.set(value)
        follow()
      }),
      releases.subscribe(follow),
      book.proven.subscribe((value) => cheats.set([...value.values()])),
      joining.requests.subscribe((value) => joinRequests.set(value)),
      watch.fleet.subscribe((value) => fleet.set(value)),
      approvals.waiting.subscribe((value) => waiting.set(value)),
      subscribeAll(pool, { kinds: [RELEASE], authors: [me.key], '#i': [id] }, onRelease, () => {
        void inTurn(announceMissing).catch(() => undefined)
      }),
    ]
    session = {
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

  async function start(): Promise<void> {
    const kept = await store.get(home)
    const isHere = kept !== undefined && deps.config.vendors.some(({ id }) => id === kept)
    const id = isHere ? (kept as VendorId) : ((await findVendor(deps, deps.config)) ?? deps.vendor)
    if (closed) return
    if (!id) {
      status.set({ tag: 'not-admitted' })
      return
    }
    await store.put(home, id)
    const last = await lastVerified(id, vendorStore(deps, id), deps.nowMs())
    if (last) adopt(last)
    open(id)
    await inTurn(() => update(id))
    if (!closed && verified && verified.targetsExpireAt - deps.nowMs() < RESIGN_BELOW_MS) {
      void resign().catch((error: unknown) => deps.log?.('signing again failed', { text: String(error) }))
    }
  }

  function need(): Session & { vendor: VendorId } {
    if (closed) throw new VendorError('closed', 'This page is closing.')
    if (session && vendor) return { ...session, vendor }
    throw new VendorError(
      'not-admitted',
      'This vendor is not admitted at the relay yet: enter the one-time code first.',
    )
  }

  const change = (run: (draft: TargetsDraft, base: Verified) => TargetsDraft, product?: string) =>
    changeTargets(deps, need().vendor, floorVersion, run, product).catch(async (error: unknown) => {
      if (error instanceof VendorError && error.proposal) await watchFor(error.proposal)
      throw error
    })

  /** What is on its way to others must not be lost, whatever the relay answers meanwhile. */
  const watchFor = (id: Sha256Hex): Promise<void> =>
    need()
      .approvals.add(id)
      .catch(() => undefined)

  /** Somebody else's signature has published something: this tab tells of it, as far as the vendor's key may. */
  async function afterOthers(): Promise<void> {
    await update(need().vendor)
    await announceMissing()
    await tellNewest()
  }

  /** The floor rises with the newest announcement. */
  async function tellNewest(): Promise<void> {
    const last = verified?.releases[0]
    if (verified && last) await tell(last, 'live', verified.targetsVersion)
  }

  /** After a change of keys or delegations: what is in force now, and what devices are told. */
  async function settle(outcome: Outcome): Promise<Outcome> {
    if (outcome.tag === 'waiting') await watchFor(outcome.id)
    else await afterOthers()
    return outcome
  }

  const delegations = (
    edit: (before: Delegations | undefined) => Delegations | undefined,
  ): Promise<Outcome> =>
    inTurn(async () => {
      try {
        adopt((await change((draft) => ({ ...draft, delegations: edit(draft.delegations) }))).verified)
        return await settle({ tag: 'published' })
      } catch (error) {
        if (error instanceof VendorError && error.proposal) return { tag: 'waiting', id: error.proposal }
        throw error
      }
    })

  async function tell(
    release: Pick<Release, 'product' | 'version' | 'sha256'>,
    state: 'live' | 'withdrawn',
    targetsVersion: number,
  ): Promise<void> {
    const after = announced.get(`${release.product}@${release.version}`)?.createdAtS ?? 0
    // Only the vendor's own key is heard: what others sign, devices find when they next look.
    if (verified?.vendorBlock.nostr !== me.key) return
    const event = announce(deps, { vendor: need().vendor, release, status: state, targetsVersion, after })
    onRelease(event)
    try {
      await pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
    } catch (error) {
      // The targets are signed and out: devices find them when they next look. The announcement waits for a relay.
      deps.log?.('release not announced yet', {
        product: release.product,
        version: release.version,
        text: String(error),
      })
      void pool.publish(event).catch(() => undefined)
    }
  }

  /** After a crash between signing and announcing: what the targets say is announced now. */
  async function announceMissing(): Promise<void> {
    if (!verified) return
    const base = verified
    for (const release of base.releases) {
      const said = announced.get(`${release.product}@${release.version}`)
      if (said?.status !== 'live' || said.sha256 !== release.sha256)
        await tell(release, 'live', base.targetsVersion)
    }
    for (const said of [...announced.values()]) {
      const isOut = base.releases.some((one) => one.product === said.product && one.version === said.version)
      if (isOut || said.status === 'withdrawn' || said.targetsVersion > base.targetsVersion) continue
      await tell(said, 'withdrawn', base.targetsVersion)
    }
  }

  /** All that was ever out, as far as this tab knows: a version never comes twice, withdrawn or not. */
  const everOut = (base: readonly Release[]) => [...base, ...releases.get().map((one) => one.release)]

  function resign(): Promise<void> {
    return inTurn(async () => {
      const { verified: next } = await change((draft) => draft)
      adopt(next)
      await tellNewest()
    })
  }

  async function tryToStart(attempt: number): Promise<void> {
    try {
      await start()
    } catch (error) {
      if (closed) return
      const text = error instanceof Error ? error.message : 'This page could not start.'
      status.set({ tag: 'trouble', text })
      later(() => void tryToStart(attempt + 1), attempt)
    }
  }
  const ready = tryToStart(0)

  return {
    status,
    releases,
    roster,
    joinRequests,
    fleet,
    cheats,
    floor,
    signing,
    waiting,
    ready,

    changeRoot: (edit) =>
      inTurn(async () => settle(await changeRoot(deps, need().vendor, floorVersion(), edit))),
    async delegate(delegate) {
      const wrong = checkDelegate(delegate)
      if (wrong !== undefined) throw new VendorError('bad-form', wrong)
      return delegations((before) => withDelegate(before, delegate))
    },
    undelegate: (product) => delegations((before) => withoutDelegate(before, product)),
    look: (of, id) => look(deps, of, id),
    approve: (of, id) =>
      inTurn(async () => {
        const outcome = await approve(deps, of, id)
        if (of !== vendor || !session) return outcome
        if (outcome.tag === 'waiting') await watchFor(id)
        else await Promise.all([session.approvals.refresh().catch(() => undefined), afterOthers()])
        return outcome
      }),

    admit: (code, name) =>
      inTurn(async () => {
        if (vendor) return vendor
        if (name.trim() === '')
          throw new VendorError('bad-form', 'Say who publishes: volunteers see this name.')
        const id = await admit(deps, code, name)
        await store.put(home, id)
        open(id)
        await update(id)
        await need().roster.edit((before) => before)
        return id
      }),

    check: (form, bytes) => checkForm(normalised(form), bytes, everOut(verified?.releases ?? [])),

    publish: (wanted) =>
      inTurn(async () => {
        const { vendor: id } = need()
        if (wanted.length === 0) throw new VendorError('bad-file', 'There is no file to publish. Choose one.')
        // Before anything is uploaded or signed.
        entriesOf(wanted, everOut(verified?.releases ?? []), deps.nowMs())
        for (const { meta } of wanted) {
          await putTorrent(
            deps.fetch,
            deps.relayUrl,
            id,
            meta.infoHash,
            meta.torrent,
            me.secret,
            deps.nowMs(),
          ).catch(rethrow)
        }
        const { verified: next } = await change((draft, base) => {
          const added = entriesOf(wanted, everOut(base.releases), deps.nowMs())
          return { ...draft, entries: [...draft.entries, ...added] }
        }, wanted[0]?.form.product.trim())
        adopt(next)
        const out = wanted.map(({ sha256, form }) => {
          const { product, version } = normalised(form)
          const release = next.releases.find(
            (one) => one.product === product && one.version === version && one.sha256 === sha256,
          )
          if (!release)
            throw new VendorError('untrusted', 'The release is not among the verified ones. Reload the page.')
          return release
        })
        for (const release of out) await tell(release, 'live', next.targetsVersion)
        return out
      }),

    withdraw: (path) =>
      inTurn(async () => {
        const { verified: next, before } = await change((draft) => {
          const entries = draft.entries.filter((entry) => entry.path !== path)
          if (entries.length === draft.entries.length) {
            throw new VendorError('unknown-release', 'This release is not out, or was withdrawn already.')
          }
          return { ...draft, entries }
        })
        const release = before.releases.find((one) => one.path === path)
        if (release) {
          const publishedAt = release.releasedAt * 1000
          withdrawn.set(release.sha256, { release, status: 'withdrawn', publishedAt })
        }
        adopt(next)
        if (release) await tell(release, 'withdrawn', next.targetsVersion)
      }),

    setApproved: (distributors) =>
      inTurn(async () => {
        const unique = [...new Set(distributors)]
        const { verified: next } = await change((draft) => ({
          ...draft,
          block: { ...draft.block, distributors: unique },
        }))
        adopt(next)
        await tellNewest()
      }),

    setMirrors: (mirrors) =>
      inTurn(async () => {
        const unique = [...new Set(mirrors.map((url) => url.replace(/\/+$/, '')))]
        const bad = unique.find((url): boolean => !v.safeParse(mirrorUrlSchema, url).success)
        if (bad !== undefined || unique.length > MAX_MIRRORS) {
          const text =
            bad === undefined
              ? `At most ${MAX_MIRRORS} mirrors can be named. Nothing was changed.`
              : `"${bad.slice(0, 80)}" is no address of a mirror, such as https://files.example. Nothing was changed.`
          throw new VendorError('bad-form', text)
        }
        const { verified: next } = await change((draft) => ({
          ...draft,
          block: { ...draft.block, mirrors: unique },
        }))
        adopt(next)
        await tellNewest()
      }),

    resign,

    async torrent(release) {
      const { vendor: id } = need()
      const fetched = await fetchTorrent([deps.relayUrl], id, release.infoHash, deps.fetch)
      if (fetched.tag === 'failed') {
        throw new VendorError(
          'unreachable',
          `The torrent of ${release.path} cannot be fetched: ${fetched.text}.`,
        )
      }
      try {
        return readMetainfo(fetched.bytes, release)
      } catch (cause) {
        if (!(cause instanceof MetainfoError)) throw cause
        throw new VendorError('untrusted', `The mirror's torrent is not usable: ${cause.message}.`, { cause })
      }
    },

    makeJoinCode: () => Promise.resolve().then(() => need().joining.makeCode()),
    accept: async (id, grant) => need().joining.accept(id, grant),
    decline: async (id) => need().joining.decline(id),
    revoke: async (device) => need().roster.edit((before) => revoke(before, device, deps.nowMs())),
    async describe(device, { name, group }) {
      const said = { name: name.trim(), group: group.trim() }
      const wrong = checkDescription(said)
      if (wrong !== undefined) throw new VendorError('bad-form', wrong)
      await need().roster.edit((before) => describe(before, device, said, deps.nowMs()))
    },

    async fund(device: PartyKey, wallet) {
      const { fleet: watch, roster: sync } = need()
      const invoice = watch.progressOf(device)?.fundInvoice
      if (!isEnrolled(sync.roster.get(), device)) {
        throw new VendorError('refused', 'This device is not enrolled: accept it before sending it money.')
      }
      if (!invoice) throw new VendorError('refused', 'This device does not ask for money now.')
      return wallet.pay(invoice)
    },

    close() {
      closed = true
      clearTimeout(retry)
      session?.close()
    },
  }
}
