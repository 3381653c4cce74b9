/**
 * Publishes proofs of fraud and acts on those of others: asks the relays, checks one at a time inside the bounds
 * of `core/exchange/cheats.ts`, writes down who is convicted, and shows it to every download.
 */
import type { Bytes, InfoHash, PartyKey, VendorId } from '../../core/bytes.ts'
import {
  accusationEvent,
  contentOf,
  judge,
  readAccusation,
  type Accusation,
} from '../../core/exchange/accusation.ts'
import {
  cheatBounds,
  convictedText,
  openBook,
  releaseKey,
  step,
  type BookEffect,
  type BookEvent,
  type Cheat,
} from '../../core/exchange/cheats.ts'
import { checkProof, decodeProof } from '../../core/exchange/fraud.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { signEvent, type NostrEvent } from '../../core/nostr/event.ts'
import { FRAUD_PROOF } from '../../core/nostr/kinds.ts'
import type { Release } from '../../core/release/target.ts'
import { MAX_FILTER_VALUES, type Filter } from '../nostr/filter.ts'
import type { Pool } from '../nostr/pool.ts'
import type { Identity, Journal } from './api.ts'
import * as records from './cheat-records.ts'
import { publishUntilTaken } from './cheat-teller.ts'

export type Proven = Readonly<{ cheat: Cheat; event: NostrEvent }>

export type CheatsDeps = Readonly<{
  pool: Pool
  journal: Journal
  identity: Identity
  nowMs: () => number
  /** In [0, 1). */
  random: () => number
  randomBytes: (length: number) => Bytes
  /** Publishes again what known authors have proven, so that no flood can hide it: the vendor's part. */
  vouches?: boolean
  /** A proof that holds, own or heard, when it is first seen: to be kept as a file. */
  onProven?: (proven: Proven) => void
  log?: (event: string, detail: Readonly<Record<string, unknown>>) => void
  retryMs?: number
}>

export interface Cheats {
  /** Keys that are never bought from again. */
  readonly proven: Live<ReadonlyMap<PartyKey, Cheat>>
  /** Authors of false proofs, and what was false. */
  readonly ignored: Live<ReadonlyMap<PartyKey, string>>
  /** Resolves when what the last run left is known; rejects when it cannot be read. */
  readonly loaded: Promise<void>
  /** What a vendor has signed, and whose proofs about it are heard first. Called again on every change. */
  follow(vendor: VendorId, releases: readonly Release[], known: readonly PartyKey[]): void
  /** Keys that were proven on wires: proofs about them go before others. */
  meet(keys: readonly PartyKey[]): void
  /** This party was cheated: its proof is published, and tried again until a relay has taken it. */
  accuse(infoHash: InfoHash, proof: Uint8Array, seller: PartyKey): void
  /** Asks the relays nothing more until the next `follow`; what is known stays in force. */
  rest(): void
  stop(): Promise<void>
}

/** Stored accusations by strangers that are asked for: about a vendor's releases, and about keys that were met. */
const STRANGERS_PAGE = 100
const MET_PAGE = 50
/** New keys on the wires are asked about at most this often, and all of them again after this long. */
const MET_EVERY_MS = 2_000
const MET_AGAIN_MS = 600_000
const AUTHORS_PER_FILTER = 500
/** Room for the largest fleet. */
const MAX_AUTHOR_FILTERS = 20
/** Vendors whose accusations are asked for: two subscriptions each. */
const MAX_FOLLOWED = 50
const RETRY_MS = 10_000

type Followed = { known: readonly PartyKey[]; endKnown: () => void; endStrangers: () => void }

export function createCheats(deps: CheatsDeps): Cheats {
  const { pool, journal, identity, nowMs } = deps
  const log = deps.log ?? (() => undefined)
  const book = openBook(identity.key, deps.vouches === true)
  const proven = liveCell<ReadonlyMap<PartyKey, Cheat>>(new Map())
  const ignored = liveCell<ReadonlyMap<PartyKey, string>>(new Map())
  const followed = new Map<VendorId, Followed>()
  /** Own proofs whose release is not known yet, or before the book is. */
  let own: { infoHash: InfoHash; seller: PartyKey; proof: Uint8Array }[] = []
  const waitingToFollow = new Map<VendorId, { releases: readonly Release[]; known: readonly PartyKey[] }>()
  let ready = false
  let stopped = false
  let wakeTimer: ReturnType<typeof setTimeout> | undefined
  let metTimer: ReturnType<typeof setTimeout> | undefined
  let endMet = (): void => undefined
  const asked = new Set<PartyKey>()
  let askedAtMs = 0
  let askedAllAtMs = nowMs()
  let writing: Promise<unknown> = Promise.resolve()

  const again = setInterval(askSoon, MET_AGAIN_MS)

  const teller = publishUntilTaken({
    pool,
    retryMs: deps.retryMs ?? RETRY_MS,
    onTaken: (key) => write(() => records.dropUntold(journal, key)),
    log,
  })

  /** In order; a disk that fails costs what is written down, never the ban in this run. */
  function write(run: () => Promise<void>): void {
    writing = writing
      .then(run)
      .catch((error: unknown) => log('cheat not written down', { error: text(error) }))
  }

  // --- deciding

  function take(event: BookEvent): void {
    if (stopped) return
    const effects = step(book, event, nowMs())
    for (const effect of effects) run(effect)
    const did = (...tags: BookEffect['tag'][]) => effects.some((effect) => tags.includes(effect.tag))
    if (did('ban', 'forget-cheat')) proven.set(new Map(book.cheats))
    if (did('ignore', 'forget-ignored')) ignored.set(new Map(book.ignored))
  }

  function run(effect: BookEffect): void {
    switch (effect.tag) {
      case 'check':
        // A turn of its own: pages and wires go first.
        setTimeout(() => {
          if (!stopped) take({ tag: 'judged', judgement: judge(effect.accusation, effect.release) })
        })
        return
      case 'ban':
        return convict(effect.cheat, effect.accusation, effect.publish)
      case 'forget-cheat':
        return write(() => records.dropCheat(journal, effect.key))
      case 'ignore':
        log('author ignored', { author: effect.author, why: effect.why })
        return write(() => records.saveIgnored(journal, effect.author, effect.why, nowMs()))
      case 'forget-ignored':
        return write(() => records.dropIgnored(journal, effect.author))
      case 'wake':
        clearTimeout(wakeTimer)
        wakeTimer = setTimeout(() => take({ tag: 'tick' }), Math.max(1, effect.atMs - nowMs()))
        return
      default:
        return effect satisfies never
    }
  }

  function convict(cheat: Cheat, accusation: Accusation | undefined, publish: boolean): void {
    const { key, vendor, infoHash } = cheat
    log('seller convicted', { key, why: convictedText(cheat) })
    const event = publish ? ownEvent(key, vendor, infoHash, accusation) : accusation?.event
    if (event === undefined) return
    deps.onProven?.({ cheat, event })
    // The event first: a cheat that is on disk without one counts as told.
    if (publish) write(() => records.saveUntold(journal, key, event))
    write(() => records.saveCheat(journal, cheat))
    if (publish) teller.tell(key, event)
  }

  function ownEvent(
    accused: PartyKey,
    vendor: VendorId,
    infoHash: InfoHash,
    heard: Accusation | undefined,
  ): NostrEvent | undefined {
    const proof = own.find((one) => one.seller === accused)?.proof
    const content = heard?.event.content ?? (proof && contentOf(proof))
    if (content === undefined) return undefined
    const createdAtS = Math.floor(nowMs() / 1000)
    const template = accusationEvent({ accused, vendor, infoHash, content, createdAtS })
    return signEvent(template, identity.secret, deps.randomBytes(32))
  }

  /** Own proofs become accusations once the book and the signed release are there. */
  function takeOwn(): void {
    if (!ready) return
    for (const { infoHash, seller, proof } of own) {
      const vendor = vendorOf(infoHash)
      const release = vendor && book.releases.get(releaseKey(vendor, infoHash))
      if (vendor === undefined || release === undefined || book.cheats.has(seller)) continue
      const decoded = decodeProof(proof)
      const check = decoded && checkProof(decoded, release)
      if (decoded === undefined || check?.ok !== true || check.seller !== seller) {
        log('own proof does not hold', { seller, why: check?.ok === false ? check.why : 'unreadable' })
        continue
      }
      const { buyer, amount: paid } = check.quote
      const { piece, block } = decoded
      const author = identity.key
      const cheat = { key: seller, vendor, infoHash, author, buyer, piece, block, paid } as const
      take({ tag: 'cheated', cheat: { ...cheat, atMs: nowMs(), from: 'self' } })
    }
    own = own.filter(({ seller, infoHash }) => !book.cheats.has(seller) && vendorOf(infoHash) === undefined)
  }

  function vendorOf(infoHash: InfoHash): VendorId | undefined {
    for (const key of book.releases.keys()) {
      const [vendor, hash] = key.split(' ')
      if (hash === infoHash) return vendor as VendorId
    }
    return undefined
  }

  // --- asking the relays

  const hear = (event: NostrEvent, verified = false): void => {
    const accusation = ready ? readAccusation(event) : undefined
    if (accusation !== undefined) take({ tag: 'heard', accusation, verified, draw: deps.random() })
  }

  /**
   * Apart from strangers', so that a flood of those cannot crowd them out of a relay's page; and verified, so that no
   * relay can fill their places with what they did not sign.
   */
  function askKnown(vendor: VendorId, known: readonly PartyKey[]): () => void {
    return askInParts(
      known,
      (authors) => ({ kinds: [FRAUD_PROOF], '#i': [vendor], authors }),
      (filter) => pool.subscribe([filter], (event) => hear(event, true)),
    )
  }
  const askStrangers = (vendor: VendorId): (() => void) =>
    pool.subscribe(
      [{ kinds: [FRAUD_PROOF], '#i': [vendor], limit: STRANGERS_PAGE }],
      (event) => hear(event),
      {
        unverified: true,
      },
    )

  function askSoon(): void {
    if (stopped) return
    const waitMs = Math.max(0, askedAtMs + MET_EVERY_MS - nowMs())
    metTimer ??= setTimeout(askAboutMet, Math.min(waitMs, MET_EVERY_MS)) // the clock may have been set back
  }

  /** Whoever is met is asked about by name: no flood about other keys can hide a proof. */
  function askAboutMet(): void {
    metTimer = undefined
    if (stopped || followed.size === 0) return
    const nowAgain = Math.abs(nowMs() - askedAllAtMs) >= MET_AGAIN_MS
    if (nowAgain) askedAllAtMs = nowMs()
    const keys = [...book.met].filter((key) => !book.cheats.has(key)).slice(-MAX_FILTER_VALUES)
    if (!nowAgain && keys.every((key) => asked.has(key))) return
    askedAtMs = nowMs()
    asked.clear()
    for (const key of keys) asked.add(key)
    endMet()
    endMet = askInParts(
      keys,
      (part) => ({ kinds: [FRAUD_PROOF], '#p': part, limit: MET_PAGE }),
      (filter) => pool.subscribe([filter], (event) => hear(event), { unverified: true }),
    )
  }

  function follow(vendor: VendorId, releases: readonly Release[], named: readonly PartyKey[]): void {
    const known = named.slice(0, MAX_AUTHOR_FILTERS * AUTHORS_PER_FILTER)
    let isNew = false
    for (const { infoHash, piecesRoot, bytes, pieceLength } of releases) {
      const release = { root: piecesRoot, shape: { length: bytes, pieceLength } }
      const before = book.releases.get(releaseKey(vendor, infoHash))
      if (before?.root === release.root) continue
      isNew = true
      take({ tag: 'signed', vendor, infoHash, release })
      write(() => records.saveRelease(journal, { vendor, infoHash, release }, nowMs()))
    }
    const at = followed.get(vendor)
    if (at === undefined && followed.size >= MAX_FOLLOWED) return
    // A new release: what was said of it before it was known is asked for again.
    const others = at?.known.join() !== known.join()
    if (!isNew && !others) return
    take({ tag: 'knows', vendor, authors: known })
    at?.endKnown()
    if (isNew) at?.endStrangers()
    followed.set(vendor, {
      known,
      endKnown: askKnown(vendor, known),
      endStrangers: at === undefined || isNew ? askStrangers(vendor) : at.endStrangers,
    })
    if (at === undefined) askSoon()
    takeOwn()
  }

  function rest(): void {
    for (const { endKnown, endStrangers } of followed.values()) {
      endKnown()
      endStrangers()
    }
    followed.clear()
    waitingToFollow.clear()
    clearTimeout(metTimer)
    metTimer = undefined
    endMet()
    endMet = () => undefined
    asked.clear()
  }

  // --- what the last run left

  async function load(): Promise<void> {
    const kept = await records.loadReleases(journal)
    for (const one of kept.splice(0, Math.max(0, kept.length - cheatBounds.releases)))
      write(() => records.dropRelease(journal, one.vendor, one.infoHash))
    const cheats = await records.loadCheats(journal)
    const authors = await records.loadIgnored(journal)
    const untold = await records.loadUntold(journal)
    const proofs = await records.ownProofs(journal)
    if (stopped) return
    for (const one of kept) take({ tag: 'signed', ...one })
    take({ tag: 'remembered', cheats, ignored: authors })
    proven.set(new Map(book.cheats))
    ignored.set(new Map(book.ignored))
    own.push(...proofs.filter(({ seller }) => !book.cheats.has(seller)))
    ready = true
    for (const { key, event } of untold) teller.tell(key, event)
    for (const [vendor, { releases, known }] of waitingToFollow) follow(vendor, releases, known)
    waitingToFollow.clear()
    takeOwn()
  }
  const loaded = load()
  loaded.catch((error: unknown) => log('cheats not read', { error: text(error) }))

  return {
    proven,
    ignored,
    loaded,
    follow(vendor, releases, known) {
      if (stopped) return
      if (ready) follow(vendor, releases, known)
      else waitingToFollow.set(vendor, { releases, known })
    },
    meet(keys) {
      const others = keys.filter((key) => key !== identity.key)
      if (others.some((key) => !book.met.has(key))) take({ tag: 'met', keys: others })
      if (others.some((key) => !asked.has(key) && !book.cheats.has(key))) askSoon()
    },
    accuse(infoHash, proof, seller) {
      own.push({ infoHash, seller, proof })
      takeOwn()
    },
    rest,
    async stop() {
      stopped = true
      rest()
      clearTimeout(wakeTimer)
      clearInterval(again)
      teller.stop()
      await writing
    },
  }
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** A subscription for each so many keys: a relay takes messages of 64 KiB. Gives the function that ends them all. */
function askInParts(
  keys: readonly PartyKey[],
  filterOf: (part: readonly PartyKey[]) => Filter,
  subscribe: (filter: Filter) => () => void,
): () => void {
  const ends: (() => void)[] = []
  for (let at = 0; at < keys.length; at += AUTHORS_PER_FILTER)
    ends.push(subscribe(filterOf(keys.slice(at, at + AUTHORS_PER_FILTER))))
  return () => ends.forEach((end) => end())
}
