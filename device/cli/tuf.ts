/**
 * `satpatch tuf`: the TUF client that devices use, against any TUF repository. Flags, files and exit codes are those
 * that the public conformance suite asks of a client. Its imports stay few: it starts in a fraction of a second.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Current } from '../../web/core/release/client.ts'
import { segmentOf } from '../../web/core/release/delegations.ts'
import { readRoot } from '../../web/core/release/repository.ts'
import { knownHashes, type TargetFile } from '../../web/core/release/tuf.ts'
import { fetchBounded } from '../../web/edge/release/http.ts'
import {
  delegatedTargets,
  httpSource,
  loadKept,
  updateTopLevel,
  type DelegatedTargets,
  type MetadataStore,
} from '../../web/edge/release/updater.ts'
import { makeDirectory, temporaryName, writeDurably } from '../storage/durable.ts'
import { errnoOf } from '../storage/errors.ts'
import type { Command } from './command.ts'

/** Slower than this on the whole, and the download ends: a mirror must not hold a client for ever. */
const SLOWEST_BYTES_PER_MS = 1
const DOWNLOAD_GRACE_MS = 20_000
/** Longest name of a file on the file systems in use. */
const MAX_NAME_CHARS = 255

export const tufCommand: Omit<Command, 'run'> = {
  verb: 'tuf',
  summary: 'updates from any TUF repository: init, refresh, download',
  about: `
  satpatch tuf --metadata-dir D init ROOT
  satpatch tuf --metadata-dir D --metadata-url U refresh
  satpatch tuf --metadata-dir D --metadata-url U --target-base-url B --target-dir T --target-name N download

D keeps the trusted metadata, T the artifacts, named by their target paths, percent-encoded. Nothing goes to stdout.
Here the exit code is 0 or 1.`,
  flags: {
    'metadata-dir': { value: 'DIR', help: 'trusted metadata' },
    'metadata-url': { value: 'URL', help: 'where the repository serves its metadata' },
    'target-base-url': { value: 'URL', help: 'where it serves its artifacts' },
    'target-dir': { value: 'DIR', help: 'where artifacts go' },
    'target-name': {
      value: 'PATH',
      help: 'a target path; again for more, fetched in this order',
      many: true,
    },
  },
}

/** What happened and what to do; shown without a stack. */
class TufError extends Error {
  override readonly name = 'TufError'
}

/** Gives the exit code: 0, or 1 with the reason on stderr. */
export async function runTuf(args: readonly string[]): Promise<0 | 1> {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        'metadata-dir': { type: 'string' },
        'metadata-url': { type: 'string' },
        'target-base-url': { type: 'string' },
        'target-dir': { type: 'string' },
        'target-name': { type: 'string', multiple: true },
      },
    })
    const need = (name: Exclude<keyof typeof values, 'target-name'>): string => {
      const value = values[name]
      if (value === undefined || value === '') throw new TufError(`--${name} is missing.`)
      return value
    }
    const [verb, root, ...more] = positionals
    if (more.length > 0 || (verb !== 'init' && root !== undefined)) throw new TufError('One word too many.')
    const store = metadataDirectory(need('metadata-dir'))
    if (verb === 'init') {
      if (root === undefined) throw new TufError('init needs the file of the root to trust.')
      await init(store, root)
    } else if (verb === 'refresh') await update(store, need('metadata-url'))
    else if (verb === 'download') {
      const names = values['target-name'] ?? []
      if (names.length === 0) throw new TufError('--target-name is missing.')
      const to = { url: need('target-base-url'), dir: need('target-dir') }
      const { current, delegated } = await update(store, need('metadata-url'))
      for (const name of names) await download(current, delegated, name, to)
    } else throw new TufError('Say which: init, refresh or download.')
    return 0
  } catch (error) {
    process.stderr.write(`satpatch tuf: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}

/** One flat file a role, `NAME.json`, percent-encoded, in the repository's own bytes. */
function metadataDirectory(dir: string): MetadataStore {
  const fileOf = (role: string): string => join(dir, `${segmentOf(role)}.json`)
  return {
    async get(role) {
      try {
        return await readFile(fileOf(role))
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined
        throw error
      }
    },
    async put(role, bytes) {
      await makeDirectory(dir)
      await writeDurably(fileOf(role), bytes)
    },
  }
}

async function init(store: MetadataStore, file: string): Promise<void> {
  const bytes = new Uint8Array(await readFile(file))
  const root = readRoot(bytes)
  if (root.tag === 'refused') throw new TufError(`${file} cannot be trusted: ${root.refusal.text}`)
  await store.put('root', bytes)
}

type Updated = Readonly<{ current: Current; delegated: DelegatedTargets }>

async function update(store: MetadataStore, url: string): Promise<Updated> {
  const nowMs = Date.now()
  const trusted = await loadKept(store)
  if (!trusted) throw new TufError('There is no trusted root, or it is damaged. Run init with a root first.')
  const source = httpSource((file) => under(url, file), { fetch })
  const current = await updateTopLevel(trusted, { source, store, nowMs })
  return { current, delegated: delegatedTargets(current, { source, store, nowMs }) }
}

const under = (base: string, path: string): string => `${base.replace(/\/+$/, '')}/${path}`

async function download(
  current: Current,
  delegated: DelegatedTargets,
  path: string,
  to: Readonly<{ url: string; dir: string }>,
): Promise<void> {
  const found = await delegated.find(path)
  if (!('file' in found)) throw new TufError(found.text)
  const { file } = found
  const hashes = knownHashes(file.hashes)
  const [prefix] = hashes
  if (!prefix) throw new TufError(`${path} is listed with no hash that this version knows.`)
  const name = segmentOf(path)
  if (name === undefined || name.length > MAX_NAME_CHARS)
    throw new TufError(`${path} is too long for a file.`)
  const place = join(to.dir, name)
  if (await isThere(place, file)) return
  await makeDirectory(to.dir)
  const consistent = current.root.signed.consistent_snapshot === true
  const url = under(to.url, urlPath(path, consistent ? prefix.hex : undefined))
  await fetchArtifact(url, file, place)
}

/** Section 6.2: with consistent snapshots the hash goes before the last segment. @throws TufError */
function urlPath(path: string, hash: string | undefined): string {
  const segments = path.split('/')
  // A URL would resolve these to somewhere else.
  if (segments.some((one) => one === '.' || one === '..')) throw new TufError(`${path} is not a plain path.`)
  return segments
    .map((segment, i) => {
      const encoded = segmentOf(segment) ?? ''
      return hash !== undefined && i === segments.length - 1 ? `${hash}.${encoded}` : encoded
    })
    .join('/')
}

/** Section 5.7.3: no more than the listed bytes, and they are the listed ones before the file has its name. */
async function fetchArtifact(url: string, file: TargetFile, place: string): Promise<void> {
  const temporary = temporaryName(place)
  const handle = await open(temporary, 'wx', 0o600)
  try {
    const check = checker(file)
    const result = await fetchBounded(fetch, url, {
      maxBytes: file.length,
      timeoutMs: Math.min(DOWNLOAD_GRACE_MS + file.length / SLOWEST_BYTES_PER_MS, 2 ** 31 - 1),
      async onBytes(bytes) {
        check.update(bytes)
        await handle.writeFile(bytes)
      },
    })
    if (result.tag === 'failed') throw new TufError(`${url}: ${result.text}`)
    if (result.tag === 'too-long')
      throw new TufError(`${url} is longer than the ${file.length} bytes signed.`)
    if (result.status !== 200) throw new TufError(`${url}: status ${result.status}`)
    if (!check.isRight()) throw new TufError(`${url} is not the artifact that was signed.`)
    await handle.sync()
    await rename(temporary, place)
  } finally {
    await handle.close()
    await rm(temporary, { force: true })
  }
}

async function isThere(place: string, file: TargetFile): Promise<boolean> {
  const found = await stat(place).catch(() => undefined)
  if (!found?.isFile() || found.size !== file.length) return false
  const check = checker(file)
  for await (const bytes of createReadStream(place) as AsyncIterable<Buffer>) check.update(bytes)
  return check.isRight()
}

/** Length and every known hash. */
function checker(file: TargetFile) {
  const hashes = knownHashes(file.hashes).map(({ name, hex }) => ({ hash: createHash(name), hex }))
  let length = 0
  return {
    update(bytes: Uint8Array): void {
      length += bytes.length
      for (const { hash } of hashes) hash.update(bytes)
    },
    isRight: (): boolean =>
      length === file.length && hashes.every(({ hash, hex }) => hash.digest('hex') === hex),
  }
}
