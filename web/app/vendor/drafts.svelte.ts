/** Releases being prepared: files on their way to a signature. They live outside the page and survive navigation. */
import { msat, type Msat } from '../../core/money/msat.ts'
import type { Sha256Hex } from '../../core/bytes.ts'
import type { ConfidentialArtifact } from '../../edge/confidential/artifact.ts'
import type { Metainfo } from '../../edge/swarm/api.ts'
import type { NewRelease, ReleaseForm } from '../../edge/vendor/api.ts'
import { pieceLengthFor } from '../../core/swarm/metainfo.ts'
import { importToOpfs, removeFromOpfs } from '../../edge/swarm/opfs-store.ts'
import { AppError, words, type Words } from '../errors.ts'
import { guess } from './guess.ts'
import type { HashJob, HashNews } from './hash.worker.ts'

/** Largest artifact, and most drafts at a time. */
const MAX_BYTES = 4 * 1024 ** 3
const MAX_DRAFTS = 16

export type Hashed = Readonly<{
  meta: Metainfo
  sha256: Sha256Hex
  magnet: string
  /** Its key and plain SHA-256; `meta` and `sha256` are those of the encrypted bytes then. */
  confidential?: ConfidentialArtifact
}>
export type Copy = { tag: 'copying' } | { tag: 'copied' } | { tag: 'failed'; words: Words }

export class Draft {
  readonly id = crypto.randomUUID()
  readonly file: File
  product = $state('')
  version = $state('')
  upgradesFrom = $state('')
  notes = $state('')
  hardware = $state.raw<readonly string[]>([])
  /** Whole tenths of a sat per MiB, as on the slider. */
  capSats = $state(2)
  /** Faults of the form, by field. */
  faults = $state.raw<Readonly<Partial<Record<keyof ReleaseForm, string>>>>({})
  trouble = $state.raw<Words>()
  progress = $state.raw({ done: 0, of: 0 })
  hashed = $state.raw<Hashed>()
  copy = $state.raw<Copy>({ tag: 'copying' })
  /** Settles when the copy of what was hashed has ended, well or not. */
  copied: Promise<void> = Promise.resolve()
  /** Only enrolled devices can read it. */
  confidential = $state(false)

  #stop: () => void = () => undefined
  #startedMs = 0

  constructor(file: File, suggestion: { product: string; version: string; hardware: readonly string[] }) {
    this.file = file
    this.product = suggestion.product
    this.version = suggestion.version
    this.hardware = suggestion.hardware
    this.progress = { done: 0, of: Math.ceil(file.size / pieceLengthFor(file.size)) }
  }

  readonly priceCap: Msat = $derived(msat(Math.round(this.capSats * 1000)))
  /** Estimated from what was hashed so far; undefined in the first moments. */
  readonly secondsLeft: number | undefined = $derived.by(() => {
    const { done, of } = this.progress
    if (done === 0 || done === of) return undefined
    const spent = (performance.now() - this.#startedMs) / 1000
    return spent < 0.5 ? undefined : Math.max(1, Math.round((spent / done) * (of - done)))
  })

  get pieceLength(): number {
    return pieceLengthFor(this.file.size)
  }

  /** Resolves when hashing has ended, well or not; the copy goes on behind. */
  start(trackers: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      this.#startedMs = performance.now()
      const worker = new Worker(new URL('./hash.worker.ts', import.meta.url), { type: 'module' })
      const end = (error?: unknown) => {
        if (error !== undefined) this.trouble = words(error)
        worker.terminate()
        resolve()
      }
      this.#stop = end
      worker.addEventListener('error', () => end(new AppError('NotReadableError')))
      worker.addEventListener('message', (event: MessageEvent<HashNews>) => {
        const news = event.data
        if (news.tag === 'progress') this.progress = { done: news.done, of: news.of }
        else if (news.tag === 'failed') end(new AppError(news.name, news.message))
        else {
          const { tag: _, ...hashed } = news
          this.progress = { done: hashed.meta.pieces, of: hashed.meta.pieces }
          this.hashed = hashed
          this.copied = this.#keepCopy(hashed)
          end()
        }
      })
      const { file, confidential } = this
      worker.postMessage({ file, trackers, confidential } satisfies HashJob)
    })
  }

  async #keepCopy(hashed: Hashed): Promise<void> {
    const { meta, confidential } = hashed
    let copy: Copy
    try {
      const store = await importToOpfs(meta, this.file, confidential?.key)
      // Closed again, so that whichever tab seeds can open it.
      await store.close()
      copy = { tag: 'copied' }
    } catch (error) {
      copy = { tag: 'failed', words: words(error) }
    }
    // It may have been hashed anew meanwhile.
    if (this.hashed === hashed) this.copy = copy
  }

  /** Begins anew, encrypted or not; what was kept of it goes. The caller starts it again. */
  reset(confidential: boolean, out: readonly string[]): void {
    this.discard(out)
    this.confidential = confidential
    this.hashed = undefined
    this.trouble = undefined
    this.copy = { tag: 'copying' }
    this.progress = { done: 0, of: this.progress.of }
  }

  /** Taken back: nothing of it stays in this browser, unless the same bytes are `out` as a release. */
  discard(out: readonly string[]): void {
    this.#stop()
    const { hashed } = this
    if (hashed && !out.includes(hashed.meta.infoHash)) {
      void this.copied.then(() => removeFromOpfs(hashed.meta.infoHash)).catch(() => undefined)
    }
  }

  form(): ReleaseForm {
    const optional = (name: 'notes' | 'upgradesFrom') =>
      this[name].trim() === '' ? {} : { [name]: this[name].trim() }
    return {
      product: this.product.trim(),
      version: this.version.trim(),
      fileName: this.file.name,
      hardware: this.hardware,
      priceCapMsat: this.priceCap,
      ...optional('notes'),
      ...optional('upgradesFrom'),
    }
  }

  newRelease(): NewRelease | undefined {
    return this.hashed && { ...this.hashed, form: this.form() }
  }
}

class Drafts {
  list = $state.raw<readonly Draft[]>([])
  /** Files that were not taken, and why. */
  refused = $state.raw<readonly Readonly<{ name: string; words: Words }>[]>([])
  #queue: Promise<void> = Promise.resolve()

  add(files: readonly File[], trackers: readonly string[], hardware: readonly string[]): void {
    const refused: { name: string; words: Words }[] = []
    const taken: Draft[] = []
    for (const file of files) {
      const why = refusal(file, this.list.length + taken.length)
      if (why !== undefined) {
        refused.push({ name: file.name, words: words(new AppError('bad-file', why)) })
        continue
      }
      const suggestion = guess(file.name, hardware)
      const all = suggestion.hardware.length > 0 ? suggestion.hardware : hardware
      taken.push(new Draft(file, { ...suggestion, hardware: all }))
    }
    this.refused = refused
    this.list = [...this.list, ...taken]
    for (const draft of taken) this.#hash(draft, trackers)
  }

  /** One file at a time: hashing two at once only makes both late. */
  #hash(draft: Draft, trackers: readonly string[]): void {
    this.#queue = this.#queue.then(() =>
      this.list.includes(draft) && !draft.hashed ? draft.start(trackers) : undefined,
    )
  }

  /** For enrolled devices alone, or for everybody: other bytes travel, so it is hashed anew. */
  encrypt(draft: Draft, on: boolean, trackers: readonly string[], out: readonly string[]): void {
    if (draft.confidential === on) return
    draft.reset(on, this.#needed(draft, out))
    this.#hash(draft, trackers)
  }

  /** Whose copies stay: what is `out`, and what other drafts were made of the same bytes. */
  #needed(draft: Draft, out: readonly string[]): readonly string[] {
    const others = this.list.filter((other) => other !== draft)
    return [...out, ...others.flatMap(({ hashed }) => (hashed ? [hashed.meta.infoHash] : []))]
  }

  remove(draft: Draft, out: readonly string[]): void {
    draft.discard(this.#needed(draft, out))
    this.list = this.list.filter((other) => other !== draft)
  }

  /** Published: no draft any more, but its copy may still be on the way. */
  release(published: readonly Draft[]): void {
    this.list = this.list.filter((draft) => !published.includes(draft))
    this.refused = []
  }
}

function refusal(file: File, drafts: number): string | undefined {
  if (file.size === 0) return `${file.name} is empty: there is nothing to ship. Choose another file.`
  if (file.size > MAX_BYTES) return `${file.name} is larger than 4 GiB. Split it, then try again.`
  if (drafts >= MAX_DRAFTS) return `${MAX_DRAFTS} releases are being prepared. Publish them first.`
  return undefined
}

export const drafts = new Drafts()
