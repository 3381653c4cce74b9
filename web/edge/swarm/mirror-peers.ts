/** HTTP mirrors as peers of a download: they have everything, cost nothing, and rest when they fail. */
import { sha256Hex, utf8, type Bytes, type PartyKey } from '../../core/bytes.ts'
import { ZERO } from '../../core/money/msat.ts'
import { mirrorServes, type WindowId } from '../../core/swarm/buyer.ts'
import { pieceBytes } from '../../core/swarm/merkle.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import { MirrorError, readMirror, readWhole } from './mirror-source.ts'
import { leafHashes } from './window-cipher.ts'
import { leavesProve } from './window-proof.ts'

const PREFIX = 'mirror '
const SPOILT = 'has other bytes than the release'

export const isMirror = (peer: string): boolean => peer.startsWith(PREFIX)
export const mirrorKey = (url: string): PartyKey => sha256Hex(utf8(PREFIX + url)) as string as PartyKey

export class MirrorPeers {
  readonly #parts: DownloadParts
  #abort = new AbortController()
  /** Mirrors without ranges: asked for one piece after the other, each would send the file as often as it has pieces. */
  readonly #wholeOnly = new Set<string>()
  /** Those of them that are being read, from start to end. */
  readonly #passes = new Set<string>()
  bytes = 0
  trouble: string | undefined

  constructor(parts: DownloadParts) {
    this.#parts = parts
  }

  /** Nothing is asked of them before the buyer's policy says so. */
  start(): void {
    const { deps, session, buyer } = this.#parts
    this.#abort = new AbortController()
    if (buyer.policy.mirror === 'never') return
    for (const url of deps.mirrors ?? []) {
      this.#parts.step({
        tag: 'joined',
        peer: PREFIX + url,
        key: mirrorKey(url),
        price: ZERO,
        gift: true,
        money: undefined,
        maxWindowBytes: session.meta.pieceLength,
        source: 'mirror',
        mode: 'free',
      })
      const pieces = Array.from({ length: session.meta.pieces }, (_, piece) => piece)
      this.#parts.step({ tag: 'has', peer: PREFIX + url, pieces })
    }
  }

  stop(): void {
    this.#abort.abort()
  }

  /** Whether a whole file is coming in, beside any window. */
  get passing(): boolean {
    return this.#passes.size > 0
  }

  async fetch(id: WindowId, work: Work): Promise<void> {
    const { session, deps, works } = this.#parts
    const { meta } = session
    const url = work.peer.slice(PREFIX.length)
    const { signal } = this.#abort
    if (this.#wholeOnly.has(url)) return this.#refuse(id, url, signal)
    try {
      const plain = new Uint8Array(work.bytes)
      let at = 0
      for (const piece of work.pieces) {
        const length = pieceBytes(meta, piece)
        const from = { url, length: meta.length, fetch: deps.fetch ?? globalThis.fetch, signal }
        const bytes = await readMirror(from, piece * meta.pieceLength, length)
        if (signal.aborted || works.get(id) !== work) return
        if (!leavesProve(await leafHashes(bytes), [piece], meta)) {
          this.#isSpoilt(url)
          return this.#parts.step({ tag: 'spoilt', window: id, why: SPOILT })
        }
        plain.set(bytes, at)
        at += length
        this.#parts.step({ tag: 'progress', window: id, bytes: at })
      }
      this.#count(url, work.bytes)
      work.plain = plain
      const free = { amount: ZERO, paymentHash: '', expiresAtMs: Number.POSITIVE_INFINITY }
      this.#parts.step({ tag: 'quoted', window: id, ...free })
      this.#parts.step({ tag: 'settled', window: id, fees: ZERO })
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof MirrorError && error.trouble === 'whole only') {
        this.#wholeOnly.add(url)
        return this.#refuse(id, url, signal)
      }
      // The length is signed: what says another is another file, and asking again brings no better.
      if (error instanceof MirrorError && error.trouble === 'other file') {
        this.#isSpoilt(url)
        return this.#parts.step({ tag: 'spoilt', window: id, why: SPOILT })
      }
      this.#failed(url, error)
      this.#parts.step({ tag: 'refused', window: id, code: 'closed' })
    }
  }

  /** What was asked for comes with all the rest. */
  #refuse(id: WindowId, url: string, signal: AbortSignal): void {
    this.#parts.step({ tag: 'refused', window: id, code: 'closed' })
    if (this.#passes.has(url)) return
    this.#passes.add(url)
    this.#parts.guard(this.#pass(url, signal))
  }

  /** Reads the whole file once and keeps of it what is missing and asked of nobody; ends when no mirror is needed any more. */
  async #pass(url: string, signal: AbortSignal): Promise<void> {
    const { session, deps, buyer, clock } = this.#parts
    const { meta } = session
    const isFree = (piece: number): boolean => buyer.have[piece] === 0 && buyer.assigned[piece] === 0
    const take = async (piece: number, bytes: Bytes): Promise<boolean> => {
      if (signal.aborted || buyer.missingBytes === 0 || !mirrorServes(buyer, clock.nowMs())) return false
      if (!isFree(piece)) return true
      await deps.download?.take(bytes.length)
      if (!leavesProve(await leafHashes(bytes), [piece], meta)) {
        this.#isSpoilt(url)
        this.#parts.step({ tag: 'banned', key: mirrorKey(url), why: SPOILT })
        return false
      }
      await session.keep(piece, bytes)
      // Asked of a seller meanwhile: it stays that window's.
      if (signal.aborted || !isFree(piece)) return !signal.aborted
      this.#count(url, bytes.length)
      this.#parts.step({ tag: 'stored', pieces: [piece] })
      return true
    }
    try {
      const from = { url, length: meta.length, fetch: deps.fetch ?? globalThis.fetch, signal }
      await readWhole(from, meta.pieceLength, take)
    } catch (error) {
      // A disk that fails ends the download, not the mirror.
      if (!(error instanceof MirrorError)) throw error
      if (signal.aborted) return
      if (error.trouble === 'other file') {
        this.#isSpoilt(url)
        this.#parts.step({ tag: 'banned', key: mirrorKey(url), why: SPOILT })
      } else this.#failed(url, error)
    } finally {
      this.#passes.delete(url)
    }
  }

  #count(url: string, bytes: number): void {
    const { deps } = this.#parts
    if (this.bytes === 0) deps.log?.('fetching from an HTTP mirror', { url, policy: deps.policy.mirror })
    this.bytes += bytes
    this.trouble = undefined
  }

  #isSpoilt(url: string): void {
    this.trouble = `${url} has other bytes than the release.`
    this.#parts.deps.log?.('mirror spoilt', { url })
  }

  #failed(url: string, error: unknown): void {
    this.trouble = error instanceof Error ? error.message : String(error)
    this.#parts.deps.log?.('mirror failed', { url, message: this.trouble })
  }
}
