/** The two clients that are compared, ours and `tuf-js`, as somebody who comes more than once. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BaseFetcher, Updater } from 'tuf-js'
import { DownloadHTTPError } from 'tuf-js/dist/error.js'
import type { Bytes } from '../../web/core/bytes.ts'
import {
  delegatedTargets,
  loadKept,
  updateTopLevel,
  UpdateTrouble,
  type MetadataStore,
} from '../../web/edge/release/updater.ts'
import type { Repository } from './repository.ts'

/** One client's word on a visit: whether it trusts what it saw, and the SHA-256 of what it found for each path. */
export type Word = Readonly<{ refreshed: boolean; found: readonly (string | undefined)[] }>
export interface Visitor {
  visit(paths: readonly string[]): Promise<Word>
  end(): void
}

const answerFor = (repository: Repository, file: string): Buffer | undefined => {
  try {
    return repository.answer(`/metadata/${file}`)
  } finally {
    repository.requests.length = 0
  }
}

export function ours(repository: Repository, trusted: Buffer): Visitor {
  const kept = new Map<string, Uint8Array>([['root', trusted]])
  const store: MetadataStore = {
    get: async (role) => kept.get(role),
    put: async (role, bytes) => void kept.set(role, bytes),
  }
  return {
    end: () => undefined,
    async visit(asked) {
      const source = async (file: string, maxBytes: number) => {
        const bytes = answerFor(repository, file)
        if (!bytes) return { tag: 'absent' } as const
        return bytes.length > maxBytes
          ? ({ tag: 'too-long' } as const)
          : ({ tag: 'ok', bytes: new Uint8Array(bytes) as Bytes } as const)
      }
      const none = asked.map(() => undefined)
      const options = { source, store, nowMs: repository.nowMs }
      try {
        const start = await loadKept(store)
        if (!start) return { refreshed: false, found: none }
        const current = await updateTopLevel(start, options)
        const delegated = delegatedTargets(current, options)
        const found: (string | undefined)[] = []
        for (const path of asked) {
          const target = await delegated.find(path).catch(troubleOnly)
          found.push(target && 'file' in target ? target.file.hashes['sha256'] : undefined)
        }
        return { refreshed: true, found }
      } catch (error) {
        troubleOnly(error)
        return { refreshed: false, found: none }
      }
    },
  }
}

/** Anything else that is thrown is a fault of ours, not a verdict. */
function troubleOnly(error: unknown): undefined {
  if (!(error instanceof UpdateTrouble)) throw error
  return undefined
}

class RepositoryFetcher extends BaseFetcher {
  readonly #repository: Repository
  constructor(repository: Repository) {
    super()
    this.#repository = repository
  }
  override async fetch(url: string): Promise<ReadableStream<Bytes>> {
    const file = new URL(url).pathname.replace(/^\/metadata\//, '')
    const bytes = answerFor(this.#repository, file)
    if (!bytes) throw new DownloadHTTPError('not found', 404)
    return new Blob([new Uint8Array(bytes)]).stream()
  }
}

export function theirs(repository: Repository, trusted: Buffer): Visitor {
  const dir = mkdtempSync(join(tmpdir(), 'satpatch-corpus-'))
  writeFileSync(join(dir, 'root.json'), trusted)
  return {
    end: () => rmSync(dir, { recursive: true, force: true }),
    async visit(asked) {
      const none = asked.map(() => undefined)
      try {
        const updater = new Updater({
          metadataDir: dir,
          metadataBaseUrl: 'http://repository.test/metadata',
          fetcher: new RepositoryFetcher(repository),
        })
        await updater.refresh()
        const found: (string | undefined)[] = []
        for (const path of asked) {
          const target = await updater.getTargetInfo(path).catch(() => undefined)
          found.push(target?.hashes['sha256'])
        }
        return { refreshed: true, found }
      } catch {
        return { refreshed: false, found: none }
      }
    },
  }
}
