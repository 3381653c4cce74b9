/**
 * One vendor's TUF repository on disk (TUF specification 1.0, section 6; consistent snapshots). The vendor's
 * metadata is stored once it verifies as a client would verify it; snapshot and timestamp are the relay's.
 * timestamp.json is written last and decides what counts: files that it does not lead to are leftovers of a crash.
 */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { equal, sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import type { VendorBlock } from '../../web/core/release/target.ts'
import { vendorBlockSchema } from '../../web/core/release/target.ts'
import {
  assemble,
  buildSnapshot,
  buildTimestamp,
  LIFETIME_MS,
  readRoot,
  rootNames,
  signedBytes,
  verifyNextRoot,
  verifyTargets,
  type Refusal,
} from '../../web/core/release/repository.ts'
import { expiryMs, parseEnvelope, verifyListed, type RootSigned } from '../../web/core/release/tuf.ts'
import * as v from 'valibot'
import { HttpError } from '../http/http.ts'
import { readIfThere, writeAtomically } from '../files.ts'
import type { TufSigner } from '../keys.ts'

export type RelaySigners = Readonly<{ snapshot: TufSigner; timestamp: TufSigner }>
export type Versions = Readonly<{ targetsVersion: number; snapshotVersion: number; timestampVersion: number }>

type State = Readonly<{
  root: RootSigned
  vendor: VendorBlock
  targets: Uint8Array
  timestamp: Uint8Array
  snapshotExpiresMs: number
  timestampExpiresMs: number
  versions: Versions
}>

export interface VendorRepository {
  readonly id: VendorId
  readonly vendor: VendorBlock
  /** File names as in the URL; undefined when there is none of that name. */
  read(file: string): Promise<Uint8Array | undefined>
  /** @throws HttpError when the metadata is refused or the version is not the next. */
  putRoot(version: number, bytes: Uint8Array): Promise<Versions>
  putTargets(version: number, bytes: Uint8Array): Promise<Versions>
  /** Signs again what is past half of its life. */
  refresh(): Promise<void>
  /** Until when what is served now is valid (Unix ms). */
  readonly freshUntilMs: number
}

type Deps = Readonly<{ dir: string; id: VendorId; signers: RelaySigners; nowMs: () => number }>

const refused = ({ tag, text }: Refusal): HttpError =>
  new HttpError(422, `refused-${tag}`, `${text} Nothing was changed.`)
const conflict = (text: string) =>
  new HttpError(409, 'version-not-next', `${text} Reload the page to see the newest state.`)

/** Writes a vendor's first files into `dir`, which nobody reads yet. `root` and `targets` are verified already. */
export async function createRepositoryFiles(
  dir: string,
  signers: RelaySigners,
  root: Uint8Array,
  targets: Uint8Array,
  nowMs: number,
): Promise<void> {
  const metadata = join(dir, 'metadata')
  await mkdir(metadata, { recursive: true })
  await mkdir(join(dir, 'torrents'), { recursive: true })
  await mkdir(join(dir, 'blobs'), { recursive: true })
  await writeAtomically(join(metadata, '1.root.json'), root)
  await writeAtomically(join(metadata, '1.targets.json'), targets)
  await signList(
    metadata,
    signers,
    { targetsVersion: 1, snapshotVersion: 1, timestampVersion: 1 },
    targets,
    nowMs,
  )
}

/** Writes snapshot, then timestamp, in that order. */
async function signList(
  metadata: string,
  signers: RelaySigners,
  versions: Versions,
  targets: Uint8Array,
  nowMs: number,
): Promise<Uint8Array> {
  const { targetsVersion, snapshotVersion } = versions
  const signed = buildSnapshot({ version: snapshotVersion, nowMs, targetsVersion, targets })
  const snapshot = assemble(signed, [signers.snapshot.sign(signedBytes(signed))])
  await writeAtomically(join(metadata, `${snapshotVersion}.snapshot.json`), snapshot)
  return signTimestamp(metadata, signers, versions, snapshot, nowMs)
}

async function signTimestamp(
  metadata: string,
  signers: RelaySigners,
  { snapshotVersion, timestampVersion }: Versions,
  snapshot: Uint8Array,
  nowMs: number,
): Promise<Uint8Array> {
  const signed = buildTimestamp({ version: timestampVersion, nowMs, snapshotVersion, snapshot })
  const timestamp = assemble(signed, [signers.timestamp.sign(signedBytes(signed))])
  await writeAtomically(join(metadata, 'timestamp.json'), timestamp)
  return timestamp
}

/** Reads what is on disk. @throws when it is damaged; the message names the file. */
export async function openRepository(deps: Deps): Promise<VendorRepository> {
  const { id, signers, nowMs } = deps
  const metadata = join(deps.dir, 'metadata')
  let state = await load(metadata, id)
  let queue: Promise<unknown> = Promise.resolve()

  /** One change at a time: versions are counted, never guessed. */
  function inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = queue.then(change)
    queue = turn.catch(() => undefined)
    return turn
  }

  async function resign(targetsVersion: number, targets: Uint8Array): Promise<void> {
    const { snapshotVersion, timestampVersion } = state.versions
    const versions = {
      targetsVersion,
      snapshotVersion: snapshotVersion + 1,
      timestampVersion: timestampVersion + 1,
    }
    await signList(metadata, signers, versions, targets, nowMs())
    state = await load(metadata, id)
  }

  async function refreshNow(): Promise<void> {
    const { versions, targets, snapshotExpiresMs, timestampExpiresMs } = state
    const now = nowMs()
    if (snapshotExpiresMs - now < LIFETIME_MS.snapshot / 2) return resign(versions.targetsVersion, targets)
    if (timestampExpiresMs - now >= LIFETIME_MS.timestamp / 2) return
    const snapshot = await readIfThere(join(metadata, `${versions.snapshotVersion}.snapshot.json`))
    if (!snapshot) throw new Error(`${metadata}: the snapshot is missing`)
    const next = { ...versions, timestampVersion: versions.timestampVersion + 1 }
    await signTimestamp(metadata, signers, next, snapshot, now)
    state = await load(metadata, id)
  }

  return {
    id,
    get vendor() {
      return state.vendor
    },
    get freshUntilMs() {
      return Math.min(state.timestampExpiresMs, state.snapshotExpiresMs)
    },
    async read(file) {
      if (file === 'timestamp.json') return state.timestamp
      if (!/^[1-9]\d{0,9}\.(root|targets|snapshot)\.json$/.test(file)) return undefined
      return readIfThere(join(metadata, file))
    },
    putTargets: (version, bytes) =>
      inTurn(async () => {
        const current = state.versions.targetsVersion
        if (version === current && equal(bytes, state.targets)) return state.versions // sent again
        if (version !== current + 1)
          throw conflict(`The next targets version is ${current + 1}, not ${version}.`)
        const verdict = verifyTargets(state.root, bytes, current, nowMs())
        if (verdict.tag === 'refused') throw refused(verdict.refusal)
        await writeAtomically(join(metadata, `${version}.targets.json`), bytes)
        await resign(version, bytes)
        return state.versions
      }),
    putRoot: (version, bytes) =>
      inTurn(async () => {
        const current = state.root.version
        if (version === current) {
          const same = await readIfThere(join(metadata, `${version}.root.json`))
          if (same && equal(same, bytes)) return state.versions
        }
        if (version !== current + 1)
          throw conflict(`The next root version is ${current + 1}, not ${version}.`)
        const verdict = verifyNextRoot(state.root, bytes)
        if (verdict.tag === 'refused') throw refused(verdict.refusal)
        const next = verdict.value.signed
        if (expiryMs(next) <= nowMs())
          throw new HttpError(422, 'refused-freeze', 'The root has expired. Nothing was changed.')
        for (const role of ['snapshot', 'timestamp'] as const) {
          if (rootNames(next, role, signers[role].public) && next.roles[role].threshold === 1) continue
          const text = `The root does not name this relay's ${role} key, so the relay could not keep it fresh. Nothing was changed.`
          throw new HttpError(422, 'refused-relay-key', text)
        }
        await writeAtomically(join(metadata, `${version}.root.json`), bytes)
        state = { ...state, root: next }
        await resign(state.versions.targetsVersion, state.targets)
        return state.versions
      }),
    refresh: () => inTurn(refreshNow),
  }
}

async function load(metadata: string, id: VendorId): Promise<State> {
  const damaged = (file: string, why: string) => new Error(`${join(metadata, file)} is damaged: ${why}`)
  const must = async (file: string): Promise<Uint8Array> => {
    const bytes = await readIfThere(join(metadata, file))
    if (!bytes) throw damaged(file, 'it is missing')
    return bytes
  }
  const rootVersions = (await readdir(metadata)).flatMap((name) => {
    const version = /^([1-9]\d{0,9})\.root\.json$/.exec(name)?.[1]
    return version === undefined ? [] : [Number(version)]
  })
  const newest = Math.max(1, ...rootVersions)
  if (sha256Hex(await must('1.root.json')) !== id)
    throw damaged('1.root.json', "its hash is not the vendor's id")
  const root = readRoot(await must(`${newest}.root.json`))
  if (root.tag === 'refused') throw damaged(`${newest}.root.json`, root.refusal.text)

  const timestampBytes = await must('timestamp.json')
  const timestamp = parseEnvelope('timestamp', timestampBytes)
  if (timestamp.tag === 'refused') throw damaged('timestamp.json', timestamp.refusal.text)
  const snapshotMeta = timestamp.value.signed.meta['snapshot.json']
  const snapshotFile = `${snapshotMeta.version}.snapshot.json`
  const snapshotBytes = await must(snapshotFile)
  const snapshot = parseEnvelope('snapshot', snapshotBytes)
  const listed = verifyListed('snapshot', snapshotMeta, snapshotBytes)
  if (snapshot.tag === 'refused') throw damaged(snapshotFile, snapshot.refusal.text)
  if (listed.tag === 'refused') throw damaged(snapshotFile, listed.refusal.text)
  const targetsVersion = snapshot.value.signed.meta['targets.json']?.version ?? 0
  const targetsFile = `${targetsVersion}.targets.json`
  const targetsBytes = await must(targetsFile)
  const targets = parseEnvelope('targets', targetsBytes)
  if (targets.tag === 'refused') throw damaged(targetsFile, targets.refusal.text)
  const vendor = v.safeParse(vendorBlockSchema, targets.value.signed.satpatch)
  if (!vendor.success) throw damaged(targetsFile, 'its vendor block is malformed')
  return {
    root: root.value.signed,
    vendor: vendor.output,
    targets: targetsBytes,
    timestamp: timestampBytes,
    snapshotExpiresMs: expiryMs(snapshot.value.signed),
    timestampExpiresMs: expiryMs(timestamp.value.signed),
    versions: {
      targetsVersion,
      snapshotVersion: snapshotMeta.version,
      timestampVersion: timestamp.value.signed.version,
    },
  }
}
