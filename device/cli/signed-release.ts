/** The release that a vendor signed, for offline checks: from a data directory, a copy of a mirror, files, or a mirror. */
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isHex32, parseSha256Hex, sha256Hex, type InfoHash, type VendorId } from '../../web/core/bytes.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import * as client from '../../web/core/release/client.ts'
import { mayName } from '../../web/core/release/delegate.ts'
import { namedDelegates, segmentOf } from '../../web/core/release/delegations.ts'
import { readRoot } from '../../web/core/release/repository.ts'
import type { Release } from '../../web/core/release/target.ts'
import { parseEnvelope, verifyRole, verifySigned, type Envelope } from '../../web/core/release/tuf.ts'
import { failureText, refresh } from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'

export const releaseFlags: Command['flags'] = {
  release: {
    value: 'DIR|URL',
    help: 'a device’s data directory, a copy of a mirror’s metadata, or a mirror',
  },
  targets: { value: 'FILE', help: 'the vendor’s signed targets.json' },
  root: { value: 'FILE', help: 'the root.json that names the targets’ keys' },
  vendor: { value: 'ID', help: 'the vendor’s id: SHA-256 of its first root.json' },
}

export type SignedBy = Readonly<{
  release: Release
  /** A root's keys vouch for the targets. */
  signaturesChecked: boolean
  /** The root is, or follows from, the one that the vendor's id names; else the directory is taken at its word. */
  vendorChecked: boolean
}>

export type Wanted = Readonly<{
  vendor?: VendorId | undefined
  path?: string | undefined
  infoHash?: InfoHash | undefined
}>

/** `undefined` when nothing says where to look. @throws CliError, StorageError */
export async function findSigned(flags: Flags, file: string, wanted: Wanted): Promise<SignedBy | undefined> {
  const asked = flags.text('vendor')
  if (asked !== undefined && !isHex32(asked))
    throw usage('--vendor must be a vendor’s id: 64 characters 0-9 and a-f.')
  const named = asked === undefined ? undefined : parseSha256Hex(asked)
  if (named !== undefined && wanted.vendor !== undefined && named !== wanted.vendor)
    throw new CliError(EXIT.refused, `${file} is about another vendor than ${named.slice(0, 16)}….`)
  const want = { ...wanted, vendor: named ?? wanted.vendor }
  const targets = flags.text('targets')
  const at = flags.text('release')
  if (targets !== undefined) return fromFiles(targets, flags.text('root'), want)
  if (flags.has('root')) throw usage('--root needs --targets.')
  if (at !== undefined && /^https?:\/\//.test(at)) return fromMirror(at, want)
  if (at !== undefined) {
    const found = await fromDirectory(resolve(at), want)
    if (found === undefined) throw new CliError(EXIT.refused, `${at} has no root.json and targets.json.`)
    return found
  }
  // A device's own file lies one below its data directory.
  return fromDirectory(join(dirname(file), '..', 'metadata'), want)
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw storageError(error, path)
  }
}

function parse(bytes: Uint8Array, file: string): Envelope<'targets'> {
  const targets = parseEnvelope('targets', bytes)
  if (targets.tag === 'ok') return targets.value
  throw new CliError(EXIT.refused, `${file}: ${targets.refusal.text}`)
}

function pick(releases: readonly Release[], { path, infoHash }: Wanted): Release | undefined {
  if (path === undefined && infoHash === undefined) return releases.length === 1 ? releases[0] : undefined
  return releases.find(
    (one) =>
      (path === undefined || one.path === path) && (infoHash === undefined || one.infoHash === infoHash),
  )
}

const lacks = (where: string, { path, infoHash }: Wanted): CliError =>
  new CliError(
    EXIT.refused,
    `${where} names no release ${path ?? infoHash ?? '(say which with --path)'}. If it was withdrawn, give the targets.json of its time.`,
  )

async function fromFiles(targetsFile: string, rootFile: string | undefined, want: Wanted): Promise<SignedBy> {
  const targets = parse(await read(resolve(targetsFile)), targetsFile)
  let vendorChecked = false
  if (rootFile !== undefined) {
    const bytes = await read(resolve(rootFile))
    const root = readRoot(bytes)
    if (root.tag === 'refused') throw new CliError(EXIT.refused, `${rootFile}: ${root.refusal.text}`)
    if (want.vendor !== undefined && sha256Hex(bytes) !== want.vendor && root.value.signed.version === 1)
      throw new CliError(EXIT.refused, `${rootFile} is not the first root of this vendor.`)
    vendorChecked = want.vendor !== undefined && sha256Hex(bytes) === want.vendor
    const verdict = verifyRole(root.value.signed, targets)
    if (verdict.tag === 'refused') throw new CliError(EXIT.refused, `${targetsFile}: ${verdict.refusal.text}`)
  }
  const release = pick(readTargets(targets.signed).releases, want)
  if (release === undefined) throw lacks(targetsFile, want)
  return { release, signaturesChecked: rootFile !== undefined, vendorChecked }
}

async function fromMirror(url: string, want: Wanted): Promise<SignedBy> {
  const { vendor } = want
  if (vendor === undefined) throw usage('A mirror needs --vendor ID.')
  const store = memoryStore()
  const result = await refresh({ mirrors: [url], vendor, store, nowMs: Date.now(), fetch: globalThis.fetch })
  if (result.tag !== 'ok') throw new CliError(EXIT.failure, failureText(result))
  const release = pick(result.verified.releases, want)
  if (release === undefined) throw lacks(url, want)
  return { release, signaturesChecked: true, vendorChecked: true }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return []
    throw storageError(error, directory)
  }
}

/** Names `N.role.json`, highest number first. */
const numbered = (names: readonly string[], role: string): string[] =>
  names
    .filter((name) => new RegExp(`^[0-9]{1,9}\\.${role}\\.json$`).test(name))
    .sort((a, b) => Number.parseInt(b) - Number.parseInt(a))

/**
 * A release that `targets` let somebody else sign: files as a mirror has them (`N.ROLE.json`) or as a device keeps them
 * (`delegated/ROLE.json`). One hand-over deep, as vendors make them.
 */
async function fromDelegates(
  at: string,
  names: readonly string[],
  { signed }: Envelope<'targets'>,
  want: Wanted,
): Promise<Release | undefined> {
  const { delegations } = signed
  const kept = await namesIn(join(at, 'delegated'))
  for (const { name, role } of namedDelegates(delegations)) {
    const segment = segmentOf(name)
    if (segment === undefined) continue
    const file = `${segment}.json`
    const versions = names.filter((one) => /^[0-9]{1,9}\./.test(one) && one.replace(/^[0-9]+\./, '') === file)
    const newest = versions.sort((a, b) => Number.parseInt(b) - Number.parseInt(a))
    for (const one of [...(kept.includes(file) ? [join('delegated', file)] : []), ...newest]) {
      const parsed = parseEnvelope('targets', await read(join(at, one)))
      if (parsed.tag === 'refused') continue
      if (verifySigned(delegations?.keys ?? {}, role, parsed.value, name).tag === 'refused') continue
      const theirs = readTargets(parsed.value.signed).releases.filter(({ path }) =>
        mayName(delegations, name, path),
      )
      const release = pick(theirs, want)
      if (release !== undefined) return { ...release, targetsVersion: signed.version }
    }
  }
  return undefined
}

/** A data directory, its `metadata`, or files as a mirror has them. Expiry is no matter: what was signed was signed. */
async function fromDirectory(directory: string, want: Wanted): Promise<SignedBy | undefined> {
  for (const at of [join(directory, 'metadata'), directory]) {
    const names = await namesIn(at)
    const targets = [...names.filter((name) => name === 'targets.json'), ...numbered(names, 'targets')]
    const roots = numbered(names, 'root').reverse()
    if (targets.length === 0 || (roots.length === 0 && !names.includes('root.json'))) continue
    let root: Envelope<'root'>
    let vendorChecked: boolean
    if (roots[0] === '1.root.json' && want.vendor !== undefined) {
      let trusted = client.pin(want.vendor, await read(join(at, '1.root.json')))
      for (const name of roots.slice(1))
        if (trusted.tag === 'ok') trusted = client.nextRoot(trusted.value, await read(join(at, name)))
      if (trusted.tag === 'refused') throw new CliError(EXIT.refused, `${at}: ${trusted.refusal.text}`)
      root = trusted.value.root
      vendorChecked = true
    } else {
      const name = names.includes('root.json') ? 'root.json' : (roots.at(-1) as string)
      const bytes = await read(join(at, name))
      const parsed = readRoot(bytes)
      if (parsed.tag === 'refused') throw new CliError(EXIT.refused, `${name}: ${parsed.refusal.text}`)
      root = parsed.value
      vendorChecked = want.vendor !== undefined && sha256Hex(bytes) === want.vendor
      if (want.vendor !== undefined && root.signed.version === 1 && !vendorChecked)
        throw new CliError(
          EXIT.refused,
          `${join(at, name)} is not the root of the vendor ${want.vendor.slice(0, 16)}….`,
        )
    }
    let trouble: string | undefined
    for (const name of targets) {
      const envelope = parse(await read(join(at, name)), name)
      const verdict = verifyRole(root.signed, envelope)
      if (verdict.tag === 'refused') {
        trouble ??= `${join(at, name)}: ${verdict.refusal.text}`
        continue
      }
      const release =
        pick(readTargets(envelope.signed).releases, want) ?? (await fromDelegates(at, names, envelope, want))
      if (release !== undefined) return { release, signaturesChecked: true, vendorChecked }
    }
    throw trouble === undefined ? lacks(at, want) : new CliError(EXIT.refused, trouble)
  }
  return undefined
}
