/**
 * The live fleet: listens to PROGRESS and reports, fetches and checks receipts, and hands everything to
 * `core/rollout/fleet.ts`. Nothing here is remembered that the relay and the mirror would not tell again.
 */
import * as v from 'valibot'
import { fromHex, type PartyKey, type VendorId } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { tagValue, type NostrEvent } from '../../core/nostr/event.ts'
import { PROGRESS } from '../../core/nostr/kinds.ts'
import {
  fleetView,
  type FleetView,
  type HeardAddendum,
  type HeardReport,
  type KnownRelease,
} from '../../core/rollout/fleet.ts'
import {
  addendumSchema,
  progressSchema,
  reportSchema,
  type Addendum,
  type Progress,
  type Report,
  type Roster,
} from '../../core/rollout/messages.ts'
import { openBlob, type ReceiptsBlob } from '../../core/rollout/report-blob.ts'
import {
  checkAddendum,
  checkReport,
  refuseReport,
  type ReportContext,
  type ReportVerdict,
  type VerifyReceipt,
} from '../../core/rollout/report.ts'
import { isMember } from '../../core/rollout/roster.ts'
import { verifyReceipt, type ReceiptCheck } from '../../core/exchange/quote.ts'
import type { Receipt } from '../../core/exchange/receipt.ts'
import { decryptFrom } from '../nostr/nip44.ts'
import type { Rumour } from '../nostr/nip59.ts'
import { fetchBlob } from '../release/mirror.ts'
import type { VendorDeps } from './api.ts'
import { createRoom } from './room.ts'

/** Keys outside the roster whose words are shown at all. */
const MAX_STRANGERS = 50
const MAX_REPORTS = 20_000
/** One device's: it reports once on each release. */
const MAX_DEVICES_REPORTS = 500
/** Apart from the fleet's: keys are free, and what strangers report is only shown. */
const MAX_STRANGERS_REPORTS = 200
/** Waits between attempts to fetch a report's receipts; then the report is refused until the next reload. */
const BLOB_RETRY_MS = [1000, 3000, 10_000, 30_000, 60_000] as const
/** The view is computed at most this often, and for a large fleet no more than a quarter of the time. */
const REDRAW_MS = 100
const REDRAW_REST = 3
/** However long the last one took by a clock that may have been set meanwhile. */
const MAX_REDRAW_MS = 10_000
/** Of one subscription, which a relay takes as one message of at most 64 KiB. */
const MAX_AUTHORS = 500
const RECEIPTS_A_TURN = 8

type Raw = {
  readonly id: string
  readonly device: PartyKey
  readonly at: number
  readonly report: Report
  blob: ReceiptsBlob | 'fetching' | 'missing' | 'none'
}
type RawAddendum = Readonly<{ device: PartyKey; addendum: Addendum }>

export interface FleetWatch {
  readonly fleet: Live<FleetView>
  progressOf(device: PartyKey): Progress | undefined
  heardReport(rumour: Rumour): void
  heardAddendum(rumour: Rumour): void
  close(): void
}

export function watchFleet(
  deps: VendorDeps,
  vendor: VendorId,
  known: Live<readonly KnownRelease[]>,
  roster: Live<Roster>,
): FleetWatch {
  const { pool, keys } = deps
  const own = [keys.nostr, ...(keys.formerNostr ?? [])]
  const progress = new Map<PartyKey, Progress>()
  const strangers = new Set<PartyKey>()
  const isKnown = (device: PartyKey) => isMember(roster.get(), device)
  const limits = { members: MAX_REPORTS, each: MAX_DEVICES_REPORTS, strangers: MAX_STRANGERS_REPORTS }
  const reports = createRoom<Raw>(limits, isKnown)
  const addenda = createRoom<RawAddendum>(limits, isKnown)
  /** Reports whose receipts are being fetched; none are for strangers, whose words are only shown. */
  const wanted = new Set<string>()
  /** By report id: judging costs a signature check per receipt. */
  const verdicts = new Map<string, ReportVerdict>()
  const late = new WeakMap<Receipt, ReceiptCheck>()
  const timers = new Set<ReturnType<typeof setTimeout>>()
  const fleet = liveCell<FleetView>(
    fleetView({ vendor, releases: [], roster: roster.get(), progress, reports: [] }),
  )
  let redraw: ReturnType<typeof setTimeout> | undefined
  let tookMs = 0
  let closed = false
  let endMembers: (() => void)[] = []
  let members = ''

  function later(run: () => void, ms: number): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      if (!closed) run()
    }, ms)
    timers.add(timer)
  }
  function changed(): void {
    if (closed || redraw !== undefined) return
    redraw = setTimeout(
      () => {
        redraw = undefined
        if (closed) return
        const startedMs = deps.nowMs()
        fleet.set(compute())
        tookMs = deps.nowMs() - startedMs
      },
      Math.min(Math.max(REDRAW_MS, REDRAW_REST * tookMs), MAX_REDRAW_MS),
    )
  }

  function heardProgress(event: NostrEvent): void {
    const device = event.pubkey
    if (!isKnown(device) && !strangers.has(device)) {
      if (strangers.size >= MAX_STRANGERS) return
      strangers.add(device)
    }
    try {
      const to = own.find(({ key }) => key === tagValue(event, 'p')) ?? keys.nostr
      const parsed = v.safeParse(progressSchema, JSON.parse(decryptFrom(to.secret, device, event.content)))
      if (!parsed.success) return
      const before = progress.get(device)
      if (before && before.seq > parsed.output.seq && before.at >= parsed.output.at) return
      progress.set(device, parsed.output)
      changed()
    } catch {
      // Not encrypted to us: whoever sent it has nothing to say.
    }
  }

  function subscribeMembers(): void {
    const authors = roster.get().devices.map((one) => one.key)
    if (authors.join() === members) return
    members = authors.join()
    for (const end of endMembers) end()
    endMembers = []
    for (let at = 0; at < authors.length; at += MAX_AUTHORS) {
      const filter = { kinds: [PROGRESS], authors: authors.slice(at, at + MAX_AUTHORS), '#d': [vendor] }
      endMembers.push(pool.subscribe([filter], heardProgress))
    }
  }
  // Apart from the members', so that a flood of strangers cannot crowd them out of a relay's page.
  const endStrangers = pool.subscribe(
    [{ kinds: [PROGRESS], '#d': [vendor], '#p': own.map(({ key }) => key), limit: MAX_STRANGERS * 2 }],
    heardProgress,
  )
  const endRoster = roster.subscribe(() => {
    subscribeMembers()
    changed()
  })
  const endKnown = known.subscribe(() => changed())

  function heardReport(rumour: Rumour): void {
    if (reports.has(rumour.id)) return
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), reportSchema), rumour.content)
    if (!parsed.success || parsed.output.vendor !== vendor) return
    const report = parsed.output
    const blob = report.blob ? 'fetching' : 'none'
    const raw: Raw = { id: rumour.id, device: rumour.pubkey, at: rumour.created_at * 1000, report, blob }
    if (reports.add(raw.id, raw.device, raw)) changed()
  }

  async function fetchReceipts(raw: Raw, attempt: number): Promise<void> {
    const { blob } = raw.report
    if (!blob) return
    const fetched = await fetchBlob([deps.relayUrl], vendor, blob.sha256, deps.fetch)
    if (closed) return
    const opened = fetched.tag === 'ok' ? openBlob(fetched.bytes, fromHex(blob.key)) : undefined
    const delay = BLOB_RETRY_MS[attempt]
    if (opened) raw.blob = opened
    // The hash names the bytes: if they do not open now they never will.
    else if (fetched.tag === 'ok' || delay === undefined) raw.blob = 'missing'
    else return later(() => void fetchReceipts(raw, attempt + 1), delay)
    changed()
  }

  function heardAddendum(rumour: Rumour): void {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), addendumSchema), rumour.content)
    if (!parsed.success) return
    const { id, pubkey: device } = rumour
    if (addenda.add(id, device, { device, addendum: parsed.output })) changed()
  }

  const releaseAt = (path: string) => known.get().find((one) => one.release.path === path)?.release

  function verdictOf(raw: Raw): ReportVerdict {
    const release = releaseAt(raw.report.path)
    const context = { vendor, release, author: raw.device }
    const early = refuseReport(raw.report, context)
    if (early) return early
    if (raw.blob === 'fetching') {
      return isKnown(raw.device)
        ? { tag: 'checking' }
        : {
            tag: 'refused',
            why: 'receipts-missing',
            text: 'Its receipts are not fetched: the device is not enrolled.',
          }
    }
    if (raw.blob === 'missing') {
      return {
        tag: 'refused',
        why: 'receipts-missing',
        text: 'The receipts are not on the mirror, or do not open.',
      }
    }
    const cached = verdicts.get(raw.id)
    if (cached) return cached
    const receipts = raw.blob === 'none' ? [] : raw.blob.receipts
    verdicts.set(raw.id, { tag: 'checking' })
    void judge(raw, receipts, context)
    return { tag: 'checking' }
  }

  /** A signature check takes milliseconds: between a few of them the page gets its turn. */
  async function judge(raw: Raw, receipts: readonly Receipt[], context: ReportContext): Promise<void> {
    const { release, author } = context
    if (!release) return
    const against = {
      root: release.piecesRoot,
      shape: { length: release.bytes, pieceLength: release.pieceLength },
      cap: release.priceCapMsat,
      buyer: author,
    }
    const checks = new Map<Receipt, ReceiptCheck>()
    for (const [i, receipt] of receipts.entries()) {
      if (i % RECEIPTS_A_TURN === RECEIPTS_A_TURN - 1) await new Promise((resolve) => setTimeout(resolve, 0))
      if (closed) return
      checks.set(receipt, verifyReceipt(receipt, against))
    }
    const look = (receipt: Receipt) => checks.get(receipt) ?? verifyReceipt(receipt, against)
    verdicts.set(raw.id, checkReport(raw.report, receipts, { ...context, verifyReceipt: look }))
    changed()
  }

  /** The first report of a device for a release counts; the same words again are that report; others are replays. */
  function judged(): HeardReport[] {
    const first = new Map<string, Raw>()
    const all: HeardReport[] = []
    const inOrder = [...reports.values()].sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1))
    for (const raw of inOrder) {
      const { device, at, report } = raw
      const slot = `${device} ${report.path}`
      const earlier = first.get(slot)
      if (earlier) {
        if (sameWords(earlier.report, report)) continue
        const text = 'This device has reported on this release before; the first report counts.'
        all.push({ device, at, report, verdict: { tag: 'refused', why: 'replayed', text } })
        continue
      }
      const verdict = verdictOf(raw)
      if (verdict.tag !== 'refused') first.set(slot, raw)
      const windows =
        typeof raw.blob === 'object' && verdict.tag === 'accepted'
          ? { windows: paidWindows(raw.blob, verdict.payments) }
          : {}
      all.push({ device, at, report, verdict, ...windows })
    }
    return all
  }

  /** Of addenda: each view asks again. */
  const verifyLate: VerifyReceipt = (receipt, against) => {
    const check = late.get(receipt) ?? verifyReceipt(receipt, against)
    late.set(receipt, check)
    return check
  }
  function lateOnes(all: readonly HeardReport[]): HeardAddendum[] {
    const counted = new Map<string, Set<string>>()
    for (const { device, report, verdict } of all) {
      if (verdict.tag === 'accepted') counted.set(`${device} ${report.path}`, new Set(verdict.payments))
    }
    const heard: HeardAddendum[] = []
    for (const { device, addendum } of addenda.values()) {
      const payments = counted.get(`${device} ${addendum.path}`)
      // Until the report itself counts there is nothing to add to.
      if (!payments) continue
      const check = checkAddendum(addendum, payments, {
        vendor,
        release: releaseAt(addendum.path),
        author: device,
        verifyReceipt: verifyLate,
      })
      if (check.tag === 'refused') continue
      payments.add(check.paymentHash)
      const { seller, paymentHash, paidMsat } = check
      heard.push({ device, path: addendum.path, seller, paymentHash, paidMsat, feesMsat: addendum.feesMsat })
    }
    return heard
  }

  function compute(): FleetView {
    for (const raw of reports.values()) {
      if (raw.blob === 'fetching' && isKnown(raw.device) && !wanted.has(raw.id)) {
        wanted.add(raw.id)
        void fetchReceipts(raw, 0)
      }
    }
    const all = judged()
    return fleetView({
      vendor,
      releases: known.get(),
      roster: roster.get(),
      progress,
      reports: all,
      addenda: lateOnes(all),
    })
  }

  return {
    fleet,
    progressOf: (device) => progress.get(device),
    heardReport,
    heardAddendum,
    close() {
      closed = true
      clearTimeout(redraw)
      for (const timer of timers) clearTimeout(timer)
      for (const end of endMembers) end()
      endStrangers()
      endRoster()
      endKnown()
    },
  }
}

/** Sent again after a crash a report may differ in what a restart forgets (rates, who was dropped), in nothing else. */
const sameWords = (a: Report, b: Report): boolean =>
  a.outcome === b.outcome &&
  a.finishedAt === b.finishedAt &&
  a.paidMsat === b.paidMsat &&
  a.feesMsat === b.feesMsat &&
  a.receipts === b.receipts &&
  a.receiptsRoot === b.receiptsRoot

/** Windows whose payment a receipt proves, and gifts; in the order in which they were bought. */
const paidWindows = (blob: ReceiptsBlob, payments: ReadonlySet<string>) =>
  blob.windows.filter((row) => row.amountMsat === 0 || payments.has(row.paymentHash))
