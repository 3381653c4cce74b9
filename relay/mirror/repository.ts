/**
 * One vendor's TUF repository on disk (TUF specification 1.0, section 6; consistent snapshots). The vendor's
 * metadata is stored once it verifies as a client would verify it; snapshot and timestamp are the relay's.
 * timestamp.json is written last and decides what counts: files that it does not lead to are leftovers of a crash.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { equal, fromUtf8, sha256Hex, utf8, type PartyKey, type VendorId } from '../../web/core/bytes.ts'
import { publishersOf, roleNamePattern } from '../../web/core/release/delegate.ts'
import { voicesOf } from '../../web/core/release/people.ts'
import {
  assess,
  filesWith,
  isComplete,
  standsUnder,
  type Files,
  type Proposal,
  type Published,
} from '../../web/core/release/proposal.ts'
import type { VendorBlock } from '../../web/core/release/target.ts'
import { vendorBlockSchema } from '../../web/core/release/target.ts'
import {
  assemble,
  buildSnapshot,
  buildTimestamp,
  LIFETIME_MS,
  readRoot,
  relayTerms,
  signedBytes,
  type Refusal,
} from '../../web/core/release/repository.ts'
import { expiryMs, parseEnvelope, verifyListed, type Envelope } from '../../web/core/release/tuf.ts'
import * as v from 'valibot'
import { HttpError } from '../http/http.ts'
import { readIfThere, writeAtomically } from '../files.ts'
import type { TufSigner } from '../keys.ts'
import { openProposals, type Waiting } from './proposals.ts'

export type RelaySigners = Readonly<{ snapshot: TufSigner; timestamp: TufSigner }>
export type Versions = Readonly<{ targetsVersion: number; snapshotVersion: number; timestampVersion: number }>

type State = Published &
  Readonly<{
    vendor: VendorBlock
    rootBytes: Uint8Array
    timestamp: Uint8Array
    snapshotExpiresMs: number
    timestampExpiresMs: number
    versions: Versions
  }>

export type Submitted =
  Readonly<{ tag: 'published'; versions: Versions }> | Readonly<{ tag: 'waiting' } & Waiting>

export interface VendorRepository {
  readonly id: VendorId
  readonly vendor: VendorBlock
  /** The vendor's Nostr key, that of somebody who may sign releases, or of one who was handed a product. */
  mayUpload(key: PartyKey): boolean
  /** File names as in the URL; undefined when there is none of that name. */
  read(file: string): Promise<Uint8Array | undefined>
  /** One file with all its signatures. @throws HttpError when it is refused or the version is not the next. */
  put(role: string, version: number, bytes: Uint8Array): Promise<Versions>
  /** Files that belong together: published when enough have signed, else kept until more do. @throws HttpError */
  submit(files: Files): Promise<Submitted>
  /** What waits for signatures under this id. */
  proposal(id: string): Promise<Files | undefined>
  /** Signs again what is past half of its life. */
  refresh(): Promise<void>
  /** Until when what is served now is valid (Unix ms). */
  readonly freshUntilMs: number
}

type Write = typeof writeAtomically
type Deps = Readonly<{
  dir: string
  id: VendorId
  signers: RelaySigners
  nowMs: () => number
  /** For tests that cut the power at a write. */
  write?: Write
}>

/** What is being put into force: written before the first of its files, gone after the last, taken up after a crash or a fault. */
const UNDERWAY = 'underway.json'
const underwaySchema = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string()))

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
    { targets },
    nowMs,
  )
}

type Listed = Readonly<{ targets: Uint8Array; delegated?: Published['delegated'] }>

/** Writes snapshot, then timestamp, in that order. */
async function signList(
  metadata: string,
  signers: RelaySigners,
  versions: Versions,
  { targets, delegated = new Map() }: Listed,
  nowMs: number,
  write: Write = writeAtomically,
): Promise<Uint8Array> {
  const { targetsVersion, snapshotVersion } = versions
  const files = [...delegated].map(
    ([role, { signed, bytes }]) => [role, { version: signed.version, bytes }] as const,
  )
  const signed = buildSnapshot({ version: snapshotVersion, nowMs, targetsVersion, targets, delegated: files })
  const snapshot = assemble(signed, [signers.snapshot.sign(signedBytes(signed))])
  await write(join(metadata, `${snapshotVersion}.snapshot.json`), snapshot)
  return signTimestamp(metadata, signers, versions, snapshot, nowMs, write)
}

async function signTimestamp(
  metadata: string,
  signers: RelaySigners,
  { snapshotVersion, timestampVersion }: Versions,
  snapshot: Uint8Array,
  nowMs: number,
  write: Write = writeAtomically,
): Promise<Uint8Array> {
  const signed = buildTimestamp({ version: timestampVersion, nowMs, snapshotVersion, snapshot })
  const timestamp = assemble(signed, [signers.timestamp.sign(signedBytes(signed))])
  await write(join(metadata, 'timestamp.json'), timestamp)
  return timestamp
}

/** Reads what is on disk. @throws when it is damaged; the message names the file. */
export async function openRepository(deps: Deps): Promise<VendorRepository> {
  const { id, signers, nowMs, write = writeAtomically } = deps
  const metadata = join(deps.dir, 'metadata')
  let state = await load(metadata, id)
  const proposals = await openProposals(join(deps.dir, 'proposals'))
  const underway = join(deps.dir, UNDERWAY)
  let queue: Promise<unknown> = Promise.resolve()

  /** One change at a time: versions are counted, never guessed. */
  function inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = queue.then(takeUp).then(change)
    queue = turn.catch(() => undefined)
    return turn
  }

  /** Lists `targets` and `delegated` from now on; the files are on disk. */
  async function list(targets: Envelope<'targets'>, delegated: Published['delegated']): Promise<void> {
    const { snapshotVersion, timestampVersion } = state.versions
    const versions = {
      targetsVersion: targets.signed.version,
      snapshotVersion: snapshotVersion + 1,
      timestampVersion: timestampVersion + 1,
    }
    await signList(metadata, signers, versions, { targets: targets.bytes, delegated }, nowMs(), write)
    state = await load(metadata, id)
  }

  /** Puts a complete proposal into force, whole or not at all: what a crash interrupts, the next start ends. */
  async function publish(proposal: Proposal): Promise<void> {
    const files = filesWith(proposal)
    const texts = Object.entries(files).map(([role, bytes]) => [role, fromUtf8(bytes)])
    await write(underway, JSON.stringify(Object.fromEntries(texts)), { mode: 0o600 })
    await takeUp()
  }

  /** Ends what is underway; nothing else is done before. */
  async function takeUp(): Promise<void> {
    const text = await readIfThere(underway)
    if (!text) return
    const files = v.parse(underwaySchema, text.toString('utf8'))
    await putInForce(Object.fromEntries(Object.entries(files).map(([role, file]) => [role, utf8(file)])))
    await rm(underway, { force: true })
    await proposals.prune(state)
  }

  /**
   * May be done again. Targets that stand under the root in force go first, others after the new root: so a client sees
   * no moment at which what it fetches has too few signatures, unless the old keys are gone. A new root is shown once
   * the state here has moved on with it (`read`).
   */
  async function putInForce(files: Files): Promise<void> {
    const targetsIn = (role: string): Envelope<'targets'> => {
      const parsed = parseEnvelope('targets', files[role] ?? new Uint8Array())
      if (parsed.tag === 'refused') throw refused(parsed.refusal)
      return parsed.value
    }
    const roles = Object.keys(files).filter((role) => role !== 'root')
    const fresh = new Map(roles.map((role) => [role, targetsIn(role)]))
    for (const [role, { signed, bytes }] of fresh)
      await write(join(metadata, `${signed.version}.${role}.json`), bytes)
    const targets = fresh.get('targets') ?? state.targets
    fresh.delete('targets')
    const delegated = new Map([...state.delegated, ...fresh])
    const { root: rootBytes } = files
    if (rootBytes === undefined) return list(targets, delegated)
    const root = readRoot(rootBytes)
    if (root.tag === 'refused') throw refused(root.refusal)
    const isListedFirst = files['targets'] !== undefined && standsUnder(state.root, targets)
    if (isListedFirst) await list(targets, delegated)
    await write(join(metadata, `${root.value.signed.version}.root.json`), rootBytes)
    await (isListedFirst ? reload() : list(targets, delegated))
  }

  const reload = async (): Promise<void> => {
    state = await load(metadata, id)
  }

  function assessed(files: Files): Proposal {
    const verdict = assess(state, files, nowMs())
    if (verdict.tag === 'refused') throw refused(verdict.refusal)
    const { root } = verdict.value
    if (!root) return verdict.value
    const keys = { snapshot: signers.snapshot.public, timestamp: signers.timestamp.public }
    const terms = relayTerms(root.signed, keys)
    if (terms.tag === 'refused')
      throw new HttpError(422, 'refused-relay-key', `${terms.refusal.text} Nothing was changed.`)
    return verdict.value
  }

  /** What of `files` is not in force already: an answer may have been lost, or a crash come half way. */
  function stillNew(files: Files): Files {
    const inForce = (role: string, bytes: Uint8Array): boolean => {
      if (role === 'root') return equal(bytes, state.rootBytes)
      const now = role === 'targets' ? state.targets : state.delegated.get(role)
      return now !== undefined && equal(bytes, now.bytes)
    }
    return Object.fromEntries(Object.entries(files).filter(([role, bytes]) => !inForce(role, bytes)))
  }

  const versionOf = (role: string): number =>
    role === 'root'
      ? state.root.version
      : role === 'targets'
        ? state.versions.targetsVersion
        : (state.delegated.get(role)?.signed.version ?? 0)

  async function refreshNow(): Promise<void> {
    const { versions, targets, snapshotExpiresMs, timestampExpiresMs } = state
    const now = nowMs()
    if (snapshotExpiresMs - now < LIFETIME_MS.snapshot / 2) return list(targets, state.delegated)
    if (timestampExpiresMs - now >= LIFETIME_MS.timestamp / 2) return
    const snapshot = await readIfThere(join(metadata, `${versions.snapshotVersion}.snapshot.json`))
    if (!snapshot) throw new Error(`${metadata}: the snapshot is missing`)
    const next = { ...versions, timestampVersion: versions.timestampVersion + 1 }
    await signTimestamp(metadata, signers, next, snapshot, now, write)
    state = await load(metadata, id)
  }

  await inTurn(async () => undefined)

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
      const role = /^[1-9]\d{0,9}\.([^/]{1,64})\.json$/.exec(file)?.[1] ?? ''
      if (role === 'root' && Number.parseInt(file, 10) > state.root.version) return undefined
      const isFile = ['root', 'targets', 'snapshot'].includes(role) || roleNamePattern.test(role)
      return isFile ? readIfThere(join(metadata, file)) : undefined
    },
    mayUpload: (key) =>
      key === state.vendor.nostr ||
      voicesOf(state.root).includes(key) ||
      publishersOf(state.targets.signed.delegations).includes(key),
    put: (role, version, bytes) =>
      inTurn(async () => {
        if (Object.keys(stillNew({ [role]: bytes })).length === 0) return state.versions // sent again
        const next = versionOf(role) + 1
        if (version !== next) throw conflict(`The next ${role} version is ${next}, not ${version}.`)
        const proposal = assessed({ [role]: bytes })
        if (!isComplete(proposal)) throw refused(tooFew(proposal))
        await publish(proposal)
        return state.versions
      }),
    submit: (files) =>
      inTurn(async () => {
        const fresh = stillNew(files)
        if (Object.keys(fresh).length === 0) return { tag: 'published', versions: state.versions }
        for (const [role, bytes] of Object.entries(fresh)) {
          const parsed = parseEnvelope(role === 'root' ? 'root' : 'targets', bytes)
          if (parsed.tag === 'ok' && parsed.value.signed.version <= versionOf(role))
            throw conflict(`Another change of ${role} was published meanwhile.`)
        }
        const proposal = await proposals.merged(assessed(fresh), assessed)
        if (isComplete(proposal)) {
          await publish(proposal)
          return { tag: 'published', versions: state.versions }
        }
        return { tag: 'waiting', ...(await proposals.keep(proposal)) }
      }),
    proposal: (proposalId) => proposals.read(proposalId),
    refresh: () => inTurn(refreshNow),
  }
}

function tooFew(proposal: Proposal): Refusal {
  const short = proposal.needs.find(({ have, threshold }) => have.length < threshold)
  const { role = 'targets', have = [], threshold = 1 } = short ?? {}
  return {
    tag: 'arbitrary-software',
    role: role === 'root' ? 'root' : 'targets',
    text: `The ${role} metadata has ${have.length} of the ${threshold} signatures that it needs.`,
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
  const rootBytes = await must(`${newest}.root.json`)
  const root = readRoot(rootBytes)
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
  const delegated = new Map<string, Envelope<'targets'>>()
  for (const [name, { version }] of Object.entries(snapshot.value.signed.meta)) {
    if (name === 'targets.json') continue
    const role = name.replace(/\.json$/, '')
    const parsed = parseEnvelope('targets', await must(`${version}.${role}.json`))
    if (parsed.tag === 'refused') throw damaged(`${version}.${role}.json`, parsed.refusal.text)
    delegated.set(role, parsed.value)
  }
  return {
    root: root.value.signed,
    rootBytes,
    vendor: vendor.output,
    targets: targets.value,
    delegated,
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
