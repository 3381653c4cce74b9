/**
 * The book of cheats: which accusations are worth a check, when, and what follows. A key that a valid proof
 * convicts is never bought from again; who signs a false one is not listened to again. Work and memory are
 * bounded whatever a flood brings: known authors have places and checks of their own, accusations of keys that
 * were met go before others, and in a full room the lot decides. Takes events, returns effects.
 */
import type { InfoHash, PartyKey, VendorId } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'
import type { Accusation, Judgement, SignedRelease } from './accusation.ts'

export const cheatBounds = {
  /** Checks a minute: of authors that the vendor names, and of all others together. */
  checks: { known: 60, stranger: 30 },
  /** The same, of one author. */
  checksOfAuthor: { known: 20, stranger: 3 },
  /** Accusations that wait for a check. */
  waiting: { known: 64, stranger: 64 },
  waitingOfAuthor: { known: 16, stranger: 3 },
  /** Strangers' accusations of one key that wait. */
  waitingAbout: 8,
  /** Keys remembered as proven cheats, and as authors of false proofs. */
  cheats: 4096,
  ignored: 4096,
  /** Keys met on wires, and signed releases, that are remembered. */
  met: 1000,
  releases: 1024,
} as const
const MINUTE_MS = 60_000

export type Lane = 'known' | 'stranger'

/** A key that a valid proof convicted. */
export type Cheat = Readonly<{
  key: PartyKey
  vendor: VendorId
  infoHash: InfoHash
  /** Who published the proof, and who was cheated. */
  author: PartyKey
  buyer: PartyKey
  piece: number
  block: number
  paid: Msat
  atMs: number
  /** Whose word brought it: `self` was cheated itself. */
  from: 'self' | Lane
}>

/** Why a convicted key is left. */
export const convictedText = ({ from, buyer, piece, block }: Cheat): string =>
  `fraud: sold ${from === 'self' ? 'this buyer' : `the buyer ${buyer.slice(0, 8)}…`} a wrong block (piece ${piece}, block ${block}); the proof was checked`

type Waiting = Readonly<{ accusation: Accusation; draw: number }>

export type Book = {
  readonly self: PartyKey
  /** Publishes again, under its own name, what known authors have proven: the vendor's part. */
  readonly vouches: boolean
  /** By `vendor info-hash`. */
  readonly releases: Map<string, SignedRelease>
  /** Authors whom each vendor names: heard before strangers in what concerns it. */
  readonly known: Map<VendorId, ReadonlySet<PartyKey>>
  readonly met: Set<PartyKey>
  readonly cheats: Map<PartyKey, Cheat>
  /** Authors of false proofs, and what was false. */
  readonly ignored: Map<PartyKey, string>
  readonly waiting: Record<Lane, Waiting[]>
  checking: Accusation | undefined
  /** Checks begun in the minute that began at `minuteMs`. */
  minuteMs: number
  readonly spent: Record<Lane, number>
  readonly spentBy: Map<PartyKey, number>
}

export type BookEvent =
  /** What the last run left. */
  | { tag: 'remembered'; cheats: readonly Cheat[]; ignored: readonly (readonly [PartyKey, string])[] }
  | { tag: 'signed'; vendor: VendorId; infoHash: InfoHash; release: SignedRelease }
  | { tag: 'knows'; vendor: VendorId; authors: readonly PartyKey[] }
  | { tag: 'met'; keys: readonly PartyKey[] }
  /** This party holds a proof of its own. */
  | { tag: 'cheated'; cheat: Cheat }
  /**
   * `verified`: the event is its author's, as far as is known. One that is not must not take a known author's place, and
   * comes again, verified. `draw`: random in [0, 1), so that nobody can aim at a place in a full room.
   */
  | { tag: 'heard'; accusation: Accusation; verified: boolean; draw: number }
  | { tag: 'judged'; judgement: Judgement }
  | { tag: 'tick' }

export type BookEffect =
  /** One at a time: answered by `judged`. */
  | { tag: 'check'; accusation: Accusation; release: SignedRelease }
  /**
   * Never bought from again: write it down. `accusation` is what was heard; without one the proof is this
   * party's own. `publish`: under this party's name.
   */
  | { tag: 'ban'; cheat: Cheat; accusation: Accusation | undefined; publish: boolean }
  /** There was no room: the oldest that matters least goes. */
  | { tag: 'forget-cheat'; key: PartyKey }
  | { tag: 'ignore'; author: PartyKey; why: string }
  | { tag: 'forget-ignored'; author: PartyKey }
  /** The checks of this minute are used up: `tick` then. */
  | { tag: 'wake'; atMs: number }

export const openBook = (self: PartyKey, vouches = false): Book => ({
  self,
  vouches,
  releases: new Map(),
  known: new Map(),
  met: new Set(),
  cheats: new Map(),
  ignored: new Map(),
  waiting: { known: [], stranger: [] },
  checking: undefined,
  minuteMs: 0,
  spent: { known: 0, stranger: 0 },
  spentBy: new Map(),
})

export const releaseKey = (vendor: VendorId, infoHash: InfoHash): string => `${vendor} ${infoHash}`
const isKnown = (book: Book, { vendor, event }: Accusation): boolean =>
  book.known.get(vendor)?.has(event.pubkey) === true
const laneOf = (book: Book, accusation: Accusation): Lane =>
  accusation.event.pubkey === book.self || isKnown(book, accusation) ? 'known' : 'stranger'

export function step(book: Book, event: BookEvent, nowMs: number): BookEffect[] {
  const effects = apply(book, event, nowMs)
  effects.push(...next(book, nowMs))
  return effects
}

function apply(book: Book, event: BookEvent, nowMs: number): BookEffect[] {
  switch (event.tag) {
    case 'remembered':
      for (const cheat of event.cheats.slice(0, cheatBounds.cheats)) book.cheats.set(cheat.key, cheat)
      for (const [author, why] of event.ignored.slice(0, cheatBounds.ignored)) book.ignored.set(author, why)
      return []
    case 'signed':
      remember(book.releases, releaseKey(event.vendor, event.infoHash), event.release, cheatBounds.releases)
      return []
    case 'knows':
      book.known.set(event.vendor, new Set(event.authors))
      return []
    case 'met':
      for (const key of event.keys) {
        book.met.delete(key)
        book.met.add(key)
      }
      for (const oldest of book.met) {
        if (book.met.size <= cheatBounds.met) break
        book.met.delete(oldest)
      }
      return []
    case 'cheated':
      return convict(book, event.cheat, undefined)
    case 'heard':
      hear(book, { accusation: event.accusation, draw: event.draw }, event.verified)
      return []
    case 'judged':
      return judged(book, event.judgement, nowMs)
    case 'tick':
      return []
  }
}

/** Everything that costs no more than a look-up, before an accusation takes any room. */
function isWorthHearing(book: Book, { event, accused, vendor, infoHash }: Accusation): boolean {
  if (accused === book.self || book.cheats.has(accused) || book.ignored.has(event.pubkey)) return false
  // Not checkable here is not false: dropped, and nobody is blamed.
  if (!book.releases.has(releaseKey(vendor, infoHash))) return false
  const { known, stranger } = book.waiting
  // May be unverified: another content under the same id is another event.
  const isSame = (one: Accusation | undefined): boolean =>
    one?.event.id === event.id && one.event.sig === event.sig && one.event.content === event.content
  return !isSame(book.checking) && ![...known, ...stranger].some(({ accusation }) => isSame(accusation))
}

function hear(book: Book, heard: Waiting, verified: boolean): void {
  const { accusation } = heard
  if (!isWorthHearing(book, accusation) || (!verified && isKnown(book, accusation))) return
  const { pubkey: author } = accusation.event
  const lane = verified ? laneOf(book, accusation) : 'stranger'
  const room = book.waiting[lane]
  const ofAuthor = room.filter((one) => one.accusation.event.pubkey === author).length
  if (ofAuthor >= cheatBounds.waitingOfAuthor[lane]) return
  room.push(heard)
  if (lane === 'known') {
    if (room.length > cheatBounds.waiting.known) room.pop()
    return
  }
  const about = room.filter((one) => one.accusation.accused === accusation.accused)
  if (about.length > cheatBounds.waitingAbout) return leave(room, unluckiest(about))
  if (room.length <= cheatBounds.waiting.stranger) return
  const unmet = room.filter((one) => !book.met.has(one.accusation.accused))
  leave(room, unluckiest(unmet.length > 0 ? unmet : room))
}

const unluckiest = (room: readonly Waiting[]): Waiting | undefined =>
  room.reduce<Waiting | undefined>((worst, one) => (one.draw >= (worst?.draw ?? -1) ? one : worst), undefined)

function leave(room: Waiting[], one: Waiting | undefined): void {
  const at = one === undefined ? -1 : room.indexOf(one)
  if (at >= 0) room.splice(at, 1)
}

/** Begins the next check, if one is affordable. */
function next(book: Book, nowMs: number): BookEffect[] {
  const { known, stranger } = book.waiting
  if (book.checking !== undefined || known.length + stranger.length === 0) return []
  // A clock that was set back begins a new minute too: otherwise nothing would be checked for as long.
  if (nowMs - book.minuteMs >= MINUTE_MS || nowMs < book.minuteMs) {
    book.minuteMs = nowMs
    book.spent.known = 0
    book.spent.stranger = 0
    book.spentBy.clear()
  }
  for (const lane of ['known', 'stranger'] as const) {
    if (book.spent[lane] >= cheatBounds.checks[lane]) continue
    const ready = book.waiting[lane].filter(
      (one) => (book.spentBy.get(one.accusation.event.pubkey) ?? 0) < cheatBounds.checksOfAuthor[lane],
    )
    const met = ready.filter((one) => book.met.has(one.accusation.accused))
    const [first] = met.length > 0 ? met : ready
    if (first === undefined) continue
    leave(book.waiting[lane], first)
    const { accusation } = first
    const { event, vendor, infoHash } = accusation
    const release = book.releases.get(releaseKey(vendor, infoHash))
    if (release === undefined) return next(book, nowMs) // its release was forgotten meanwhile
    book.checking = accusation
    book.spent[lane]++
    book.spentBy.set(event.pubkey, (book.spentBy.get(event.pubkey) ?? 0) + 1)
    return [{ tag: 'check', accusation, release }]
  }
  return [{ tag: 'wake', atMs: book.minuteMs + MINUTE_MS }]
}

function judged(book: Book, judgement: Judgement, nowMs: number): BookEffect[] {
  const accusation = book.checking
  book.checking = undefined
  if (accusation === undefined) return []
  const { event, accused: key, vendor, infoHash } = accusation
  const { pubkey: author } = event
  switch (judgement.tag) {
    case 'forged':
      return []
    case 'false': {
      drop(book, (one) => one.event.pubkey === author)
      const evicted = remember(book.ignored, author, judgement.why, cheatBounds.ignored)
      return [
        { tag: 'ignore', author, why: judgement.why },
        ...evicted.map((gone) => ({ tag: 'forget-ignored', author: gone }) as const),
      ]
    }
    case 'valid': {
      const { proof, quote } = judgement
      const { piece, block } = proof
      const from = laneOf(book, accusation)
      const { buyer, amount: paid } = quote
      return convict(
        book,
        { key, vendor, infoHash, author, buyer, piece, block, paid, atMs: nowMs, from },
        accusation,
      )
    }
  }
}

function convict(book: Book, cheat: Cheat, accusation: Accusation | undefined): BookEffect[] {
  if (book.cheats.has(cheat.key)) return []
  drop(book, (one) => one.accused === cheat.key)
  const effects: BookEffect[] = []
  if (book.cheats.size >= cheatBounds.cheats) {
    const key = leastNeeded(book)
    book.cheats.delete(key)
    effects.push({ tag: 'forget-cheat', key })
  }
  book.cheats.set(cheat.key, cheat)
  const vouched = book.vouches && cheat.from === 'known' && cheat.author !== book.self
  effects.push({ tag: 'ban', cheat, accusation, publish: cheat.from === 'self' || vouched })
  return effects
}

/** Anybody can convict keys of its own making: those give way before any that was met or named by a known author. */
function leastNeeded(book: Book): PartyKey {
  const rank = ({ key, from }: Cheat): number =>
    (from === 'self' ? 4 : from === 'known' ? 2 : 0) + (book.met.has(key) ? 1 : 0)
  let least: Cheat | undefined
  for (const cheat of book.cheats.values())
    if (least === undefined || rank(cheat) < rank(least)) least = cheat
  return (least as Cheat).key
}

function drop(book: Book, which: (accusation: Accusation) => boolean): void {
  for (const lane of ['known', 'stranger'] as const)
    book.waiting[lane] = book.waiting[lane].filter(({ accusation }) => !which(accusation))
}

/** Sets an entry as the newest; gives the keys that had to go. */
function remember<K, V>(into: Map<K, V>, key: K, value: V, most: number): K[] {
  into.delete(key)
  into.set(key, value)
  const gone: K[] = []
  for (const oldest of into.keys()) {
    if (into.size <= most) break
    into.delete(oldest)
    gone.push(oldest)
  }
  return gone
}
