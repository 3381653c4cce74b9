/**
 * A TUF repository in memory that can be made wrong in any way: metadata is plain JSON, signed with Node's own
 * cryptography, so that nothing here shares code with what it tests but the canonical JSON.
 */
import { canonicalize } from '@tufjs/canonical-json'
import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  sign as nodeSign,
  type KeyObject,
} from 'node:crypto'

export type KeyKind = 'ed25519' | 'ecdsa' | 'rsa'
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

export type PublicKey = { keytype: string; scheme: string; keyval: { public: string }; [more: string]: Json }
export type Signer = Readonly<{ id: string; public: PublicKey; sign(message: Uint8Array): string }>

const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')
export const hashOf = (name: 'sha256' | 'sha512', bytes: Uint8Array): string =>
  createHash(name).update(bytes).digest('hex')

export const canonical = (value: unknown): Buffer => Buffer.from(canonicalize(value as object))

/** RSA keys take long to make: a few serve all. */
const rsaPool: KeyObject[] = []
let rsaTaken = 0
function rsaKey(): KeyObject {
  const at = rsaTaken++ % 3
  return (rsaPool[at] ??= generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)
}

export function newSigner(kind: KeyKind = 'ed25519', more: { [name: string]: Json } = {}): Signer {
  const secret =
    kind === 'rsa'
      ? rsaKey()
      : kind === 'ecdsa'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
        : generateKeyPairSync('ed25519').privateKey
  return signerOf(kind, secret, more)
}

function signerOf(kind: KeyKind, secret: KeyObject, more: { [name: string]: Json }): Signer {
  const open = createPublicKey(secret)
  const text =
    kind === 'ed25519'
      ? open.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex')
      : open.export({ type: 'spki', format: 'pem' }).toString()
  const scheme = { ed25519: 'ed25519', ecdsa: 'ecdsa-sha2-nistp256', rsa: 'rsassa-pss-sha256' }[kind]
  const key: PublicKey = { keytype: kind, scheme, keyval: { public: text }, ...more }
  const options = {
    ed25519: secret,
    ecdsa: secret,
    rsa: { key: secret, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
  }[kind]
  return {
    id: sha256(canonical(key)),
    public: key,
    sign: (message) => nodeSign(kind === 'ed25519' ? null : 'sha256', message, options).toString('hex'),
  }
}

export type Role = { keyids: string[]; threshold: number; [more: string]: Json }
export type Meta = { version: number; length?: number; hashes?: { [name: string]: string } }
type Common = {
  _type: string
  spec_version: string
  version: number
  expires: string
  [more: string]: unknown
}
export type Root = Common & {
  consistent_snapshot?: boolean
  keys: { [id: string]: PublicKey }
  roles: { [role: string]: Role }
}
export type Timestamp = Common & { meta: { 'snapshot.json': Meta } }
export type Snapshot = Common & { meta: { [file: string]: Meta } }
export type DelegatedRole = Role & {
  name: string
  terminating: boolean
  paths?: string[]
  path_hash_prefixes?: string[]
}
export type Targets = Common & {
  targets: { [path: string]: { length: number; hashes: { [name: string]: string }; custom?: Json } }
  delegations?: {
    keys: { [id: string]: PublicKey }
    roles?: DelegatedRole[]
    succinct_roles?: Role & { bit_length: number; name_prefix: string }
  }
}

export type SignedFile = { signatures: { keyid: string; sig: string }[]; signed: Common }
function parseFile(bytes: Buffer | undefined): SignedFile | undefined {
  try {
    const file = JSON.parse(bytes?.toString() ?? '') as SignedFile | null
    return Array.isArray(file?.signatures) ? file : undefined
  } catch {
    return undefined
  }
}

export const DAY = 86_400_000
export const isoDate = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

export type DelegationOptions = Readonly<{
  paths?: string[]
  prefixes?: string[]
  terminating?: boolean
  threshold?: number
  signer?: Signer
}>

/** Versions begin at 1; `publish` signs the next one of each role named and lists it where it belongs. */
export class Repository {
  root: Root
  timestamp: Timestamp
  snapshot: Snapshot
  readonly targetsRoles = new Map<string, Targets>()
  readonly signers = new Map<string, Signer[]>()
  /** Signed files, oldest first; the index is not the version where a test says otherwise. */
  readonly published = new Map<string, Buffer[]>()
  readonly artifacts = new Map<string, Buffer>()
  /** List length and hashes of metadata too. */
  listHashes = false
  /** Requests as they came, decoded no further than the server did. */
  readonly requests: string[] = []
  readonly nowMs: number

  constructor(nowMs: number, kinds: readonly KeyKind[] = ['ed25519']) {
    this.nowMs = nowMs
    const expires = isoDate(nowMs + 30 * DAY)
    const common = (type: string): Common => ({ _type: type, spec_version: '1.0.31', version: 1, expires })
    this.root = { ...common('root'), consistent_snapshot: true, keys: {}, roles: {} }
    this.timestamp = { ...common('timestamp'), meta: { 'snapshot.json': { version: 1 } } }
    this.snapshot = { ...common('snapshot'), meta: {} }
    this.targetsRoles.set('targets', { ...common('targets'), targets: {} })
    for (const [i, role] of ['root', 'timestamp', 'snapshot', 'targets'].entries()) {
      this.root.roles[role] = { keyids: [], threshold: 1 }
      this.addKey(role, newSigner(kinds[i % kinds.length]))
    }
    this.publish('targets', 'snapshot', 'timestamp', 'root')
  }

  get targets(): Targets {
    return this.targetsOf('targets')
  }
  targetsOf(role: string): Targets {
    const found = this.targetsRoles.get(role)
    if (!found) throw new Error(`no role ${role}`)
    return found
  }
  roleOf(role: string): Role {
    const found = this.root.roles[role]
    if (!found) throw new Error(`no role ${role}`)
    return found
  }

  /** Names the key in the root and lets it sign. */
  addKey(role: string, signer: Signer): Signer {
    this.root.keys[signer.id] = signer.public
    this.roleOf(role).keyids.push(signer.id)
    this.signersOf(role).push(signer)
    return signer
  }
  signersOf(role: string): Signer[] {
    const found = this.signers.get(role)
    if (found) return found
    const fresh: Signer[] = []
    this.signers.set(role, fresh)
    return fresh
  }
  /** All keys of the role go, as many as its threshold come. */
  rotate(role: string): void {
    this.roleOf(role).keyids = []
    this.signers.set(role, [])
    for (let i = 0; i < this.roleOf(role).threshold; i++) this.addKey(role, newSigner())
  }

  addArtifact(
    role: string,
    path: string,
    text: string,
    hashes: ('sha256' | 'sha512')[] = ['sha256'],
  ): Buffer {
    const data = Buffer.from(text)
    const listed = Object.fromEntries(hashes.map((name) => [name, hashOf(name, data)]))
    this.targetsOf(role).targets[path] = { length: data.length, hashes: listed }
    this.artifacts.set(path, data)
    return data
  }

  delegate(delegator: string, name: string, options: DelegationOptions = {}): Targets {
    const { paths, prefixes, terminating = false, threshold = 1, signer = newSigner() } = options
    const from = this.targetsOf(delegator)
    from.delegations ??= { keys: {}, roles: [] }
    from.delegations.keys[signer.id] = signer.public
    from.delegations.roles?.push({
      name,
      keyids: [signer.id],
      threshold,
      terminating,
      ...(prefixes ? { path_hash_prefixes: prefixes } : { paths: paths ?? ['*'] }),
    })
    if (!this.signersOf(name).includes(signer)) this.signersOf(name).push(signer)
    return this.addRole(name)
  }
  addRole(name: string): Targets {
    const there = this.targetsRoles.get(name)
    if (there) return there
    const { spec_version, expires } = this.targets
    const fresh: Targets = { _type: 'targets', spec_version, version: 1, expires, targets: {} }
    this.targetsRoles.set(name, fresh)
    return fresh
  }

  signedOf(role: string): Common {
    if (role === 'root') return this.root
    if (role === 'timestamp') return this.timestamp
    if (role === 'snapshot') return this.snapshot
    return this.targetsOf(role)
  }

  publish(...roles: readonly string[]): void {
    for (const role of roles) {
      const signed = this.signedOf(role)
      const files = this.published.get(role) ?? []
      if (files.length > 0) signed.version++
      this.published.set(role, files)
      this.place(role, this.signed(role))
    }
  }

  /** The file as `signers` would sign it now. */
  signed(role: string, signers: readonly Signer[] = this.signersOf(role)): Buffer {
    const signed = this.signedOf(role)
    const message = canonical(signed)
    const signatures = signers.map(({ id, sign }) => ({ keyid: id, sig: sign(message) }))
    return Buffer.from(JSON.stringify({ signatures, signed }))
  }

  /** Serves `bytes` as the role's newest file and lists it. */
  place(role: string, bytes: Buffer): void {
    this.published.set(role, [...(this.published.get(role) ?? []), bytes])
    const { version } = this.signedOf(role)
    const meta: Meta = this.listHashes
      ? { version, length: bytes.length, hashes: { sha256: sha256(bytes) } }
      : { version }
    if (role === 'snapshot') this.timestamp.meta['snapshot.json'] = meta
    else if (role !== 'root' && role !== 'timestamp') this.snapshot.meta[`${role}.json`] = meta
  }
  /** Changes the newest published file of a role after it was signed; one that is no metadata is left as it is. */
  amend(role: string, change: (file: SignedFile) => void): void {
    const files = this.published.get(role) ?? []
    const file = parseFile(files.at(-1))
    if (!file) return
    change(file)
    files.splice(-1, 1, Buffer.from(JSON.stringify(file)))
  }

  /** Serves other bytes instead of the newest file of a role, if there is one. */
  replace(role: string, change: (bytes: Buffer) => Buffer): void {
    const files = this.published.get(role)
    const last = files?.at(-1)
    if (last) files?.splice(-1, 1, change(last))
  }

  newest(role: string): Buffer {
    const last = this.published.get(role)?.at(-1)
    if (!last) throw new Error(`nothing published as ${role}`)
    return last
  }
  /** The root that a client begins with. */
  firstRoot(): Buffer {
    const first = this.published.get('root')?.[0]
    if (!first) throw new Error('no root')
    return first
  }

  /** What the server answers for a path as it stands in the request; `undefined`: 404. */
  answer(path: string): Buffer | undefined {
    this.requests.push(path)
    const [, kind, rest = ''] = /^\/(metadata|targets)\/(.*)$/.exec(path) ?? []
    if (kind === 'metadata') return this.metadataFile(rest)
    if (kind === 'targets') return this.artifactFile(rest)
    return undefined
  }

  private metadataFile(file: string): Buffer | undefined {
    const name = /^(.*)\.json$/.exec(file)?.[1] ?? ''
    if (name === 'timestamp') return this.published.get('timestamp')?.at(-1)
    const [, version, role] = /^(\d+)\.(.*)$/.exec(name) ?? []
    if (role !== undefined && (role === 'root' || this.root.consistent_snapshot === true))
      return this.published.get(decodeURIComponent(role))?.[Number(version) - 1]
    return this.root.consistent_snapshot === true
      ? undefined
      : this.published.get(decodeURIComponent(name))?.at(-1)
  }

  private artifactFile(path: string): Buffer | undefined {
    const decoded = decodeURIComponent(path)
    if (this.root.consistent_snapshot !== true) return this.artifacts.get(decoded)
    const [, folder = '', hash = '', name = ''] = /^(.*\/)?([0-9a-f]+)\.([^/]*)$/.exec(decoded) ?? []
    const target = `${folder}${name}`
    const data = this.artifacts.get(target)
    const listed = [...this.targetsRoles.values()].flatMap((role) =>
      Object.values(role.targets[target]?.hashes ?? {}),
    )
    return data && listed.includes(hash) ? data : undefined
  }
}
