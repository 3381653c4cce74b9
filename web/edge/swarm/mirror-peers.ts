/** HTTP mirrors as peers of a download: they have everything, cost nothing, and rest when they fail. */
import { sha256Hex, utf8, type PartyKey } from '../../core/bytes.ts'
import { ZERO } from '../../core/money/msat.ts'
import type { WindowId } from '../../core/swarm/buyer.ts'
import { pieceBytes } from '../../core/swarm/merkle.ts'
import type { DownloadParts, Work } from './download-parts.ts'
import { readMirror } from './mirror-source.ts'
import { leafHashes } from './window-cipher.ts'
import { leavesProve } from './window-proof.ts'

const PREFIX = 'mirror '

export const isMirror = (peer: string): boolean => peer.startsWith(PREFIX)
export const mirrorKey = (url: string): PartyKey => sha256Hex(utf8(PREFIX + url)) as string as PartyKey

export class MirrorPeers {
  readonly #parts: DownloadParts
  #abort = new AbortController()
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

  async fetch(id: WindowId, work: Work): Promise<void> {
    const { session, deps, works } = this.#parts
    const { meta } = session
    const url = work.peer.slice(PREFIX.length)
    const { signal } = this.#abort
    try {
      const plain = new Uint8Array(work.bytes)
      let at = 0
      for (const piece of work.pieces) {
        const length = pieceBytes(meta, piece)
        const from = { url, length: meta.length, fetch: deps.fetch ?? globalThis.fetch, signal }
        const bytes = await readMirror(from, piece * meta.pieceLength, length)
        if (signal.aborted || works.get(id) !== work) return
        if (!leavesProve(await leafHashes(bytes), [piece], meta)) {
          this.trouble = `${url} has other bytes than the release.`
          deps.log?.('mirror spoilt', { url })
          return this.#parts.step({ tag: 'spoilt', window: id, why: 'has other bytes than the release' })
        }
        plain.set(bytes, at)
        at += length
        this.#parts.step({ tag: 'progress', window: id, bytes: at })
      }
      if (this.bytes === 0) deps.log?.('fetching from an HTTP mirror', { url, policy: deps.policy.mirror })
      this.bytes += work.bytes
      this.trouble = undefined
      work.plain = plain
      const free = { amount: ZERO, paymentHash: '', expiresAtMs: Number.POSITIVE_INFINITY }
      this.#parts.step({ tag: 'quoted', window: id, ...free })
      this.#parts.step({ tag: 'settled', window: id, fees: ZERO })
    } catch (error) {
      if (signal.aborted) return
      this.trouble = error instanceof Error ? error.message : String(error)
      deps.log?.('mirror failed', { url, message: this.trouble })
      this.#parts.step({ tag: 'refused', window: id, code: 'closed' })
    }
  }
}
