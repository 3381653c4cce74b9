/** What can become of a repository, by its own maker or by a thief; each is drawn by name. */
import type { Draw } from './draw.ts'
import {
  DAY,
  isoDate,
  newSigner,
  type KeyKind,
  type Meta,
  type Repository,
  type Signer,
} from './repository.ts'

/** Keys take long to make; which one it is makes no difference to a verdict. */
const pool: Record<KeyKind, Signer[]> = { ed25519: [], ecdsa: [], rsa: [] }
function keyOf(kind: KeyKind, at: number): Signer {
  const size = { ed25519: 40, ecdsa: 12, rsa: 3 }[kind]
  return (pool[kind][at % size] ??= newSigner(kind))
}
function anyKey(draw: Draw): Signer {
  const kind = draw.one<KeyKind>(['ed25519', 'ed25519', 'ed25519', 'ed25519', 'ecdsa', 'rsa'])
  return keyOf(kind, draw.below(40))
}

export const top = ['root', 'timestamp', 'snapshot', 'targets'] as const
const lists = ['timestamp', 'snapshot', 'targets'] as const
const roleNames = ['A', 'B', 'C', 'D', 'release/x', '..', 'ü'] as const
const patterns = [
  '*',
  '*/*',
  'a*',
  '?',
  'dir/*',
  '*.txt',
  'dir/?',
  '[ab]*',
  '[!b]*',
  '.*',
  '{a,b}',
  '**',
] as const
export const paths = ['a', 'b.txt', 'dir/c', 'dir/deep/d', '.hidden', 'ab', 'x', '[ab]x', '{a,b}'] as const

/** What is done to a repository before it is published again. Names are what differences are listed by. */
export const changes: Readonly<Record<string, (repository: Repository, draw: Draw) => void>> = {
  nothing: () => undefined,
  'new version': (repository, draw) => repository.publish(draw.one(lists)),
  'exchange keys': (repository, draw) => {
    const role = draw.one(top)
    const old = repository.signersOf(role)
    repository.roleOf(role).keyids = []
    repository.signers.set(role, role === 'root' ? [...old] : [])
    for (let i = 0; i < repository.roleOf(role).threshold; i++) addKey(repository, role, draw)
    repository.publish('root')
    if (role !== 'root') repository.publish(role)
  },
  'raise a threshold': (repository, draw) => {
    const role = draw.one(top)
    repository.roleOf(role).threshold++
    if (draw.chance(0.7)) addKey(repository, role, draw)
    repository.publish('root')
  },
  'add a target': (repository, draw) => {
    const roles = [...repository.targetsRoles.keys()]
    const role = draw.one(roles)
    repository.addArtifact(role, draw.one(paths), `new ${draw.below(1000)}`)
    repository.publish(role)
  },
  'drop signatures': (repository, draw) => {
    const role = draw.one([...repository.targetsRoles.keys(), ...top])
    signBy(repository, role, repository.signersOf(role).slice(1))
  },
  'sign with a stranger’s key': (repository, draw) => {
    const role = draw.one([...repository.targetsRoles.keys(), ...top])
    signBy(repository, role, [newSigner()])
  },
  'sign with another role’s key': (repository, draw) => {
    const role = draw.one([...repository.targetsRoles.keys(), ...top])
    signBy(repository, role, repository.signersOf(draw.one(top)))
  },
  'spoil a signature': (repository, draw) => {
    repository.amend(draw.one(top), ({ signatures }) => {
      if (signatures.length === 0) return
      const one = draw.one(signatures)
      one.sig = draw.one(['', 'zz', '00', 'ab'.repeat(64), one.sig.slice(2), `${one.sig}00`])
    })
  },
  'two signatures under one id': (repository, draw) =>
    repository.amend(draw.one(lists), ({ signatures }) => signatures.push(...signatures)),
  'the same key id twice': (repository) => {
    const role = repository.roleOf('snapshot')
    role.keyids.push(...role.keyids)
    repository.publish('root', 'snapshot')
  },
  'the same key under two ids': (repository) => {
    const [signer] = repository.signersOf('snapshot')
    if (signer) repository.addKey('snapshot', { ...signer, id: 'alias' })
    repository.roleOf('snapshot').threshold = 2
    repository.publish('root', 'snapshot')
  },
  'a key of an unknown kind': (repository, draw) => {
    const signer = newSigner()
    const strange = { ...signer.public, scheme: 'dilithium', keytype: draw.one(['dilithium', 'ed25519']) }
    repository.addKey(draw.one(lists), { ...signer, public: strange })
    repository.publish('root', ...lists.toReversed())
  },
  'an id that is no hash': (repository, draw) => {
    const role = draw.one(lists)
    repository.addKey(role, { ...newSigner(), id: 'a name' })
    repository.roleOf(role).threshold++
    repository.publish('root', role)
  },
  'change what was signed': (repository, draw) =>
    repository.amend(
      draw.one([...top, ...repository.targetsRoles.keys()]),
      ({ signed }) => (signed['extra'] = 1),
    ),
  expire: (repository, draw) => {
    const role = draw.one([...top, ...repository.targetsRoles.keys()])
    repository.signedOf(role).expires = isoDate(repository.nowMs - draw.one([1, 40]) * DAY)
    repository.publish(role)
  },
  'go back a version': (repository, draw) => {
    const role = draw.one(lists)
    const files = repository.published.get(role) ?? []
    const signed = repository.signedOf(role)
    if (signed.version < 2) return
    signed.version--
    files.pop()
    files.pop()
    repository.place(role, repository.signed(role))
  },
  'list an older version': (repository, draw) => {
    const listed = draw.one(
      Object.values(repository.snapshot.meta).concat(repository.timestamp.meta['snapshot.json']),
    )
    listed.version = Math.max(1, listed.version - 1)
  },
  'no longer list a role': (repository, draw) => {
    const file = draw.one(Object.keys(repository.snapshot.meta))
    repository.snapshot.meta = Object.fromEntries(
      Object.entries(repository.snapshot.meta).filter(([name]) => name !== file),
    )
  },
  'fast forward': (repository, draw) => {
    const role = draw.one(lists)
    repository.signedOf(role).version += 50
    const files = repository.published.get(role) ?? []
    const file = repository.signed(role)
    for (let i = 0; i < 49; i++) files.push(file)
    repository.place(role, file)
  },
  'skip a root': (repository) => {
    repository.root.version++
    repository.publish('root')
  },
  'list a wrong length': (repository, draw) =>
    spoilMeta(repository, draw, (meta) => (meta.length = draw.below(99))),
  'list a wrong hash': (repository, draw) =>
    spoilMeta(repository, draw, (meta) => (meta.hashes = { sha256: '0'.repeat(64) })),
  'list an unknown hash only': (repository, draw) =>
    spoilMeta(repository, draw, (meta) => (meta.hashes = { crc: 'x' })),
  'list hashes': (repository) => {
    repository.listHashes = true
    repository.publish(...repository.targetsRoles.keys())
  },
  'serve nothing for a file': (repository, draw) =>
    void repository.published.set(draw.one([...lists, ...repository.targetsRoles.keys()]), []),
  'serve another role’s file': (repository, draw) => {
    const [from, to] = [draw.one(lists), draw.one(lists)]
    const file = repository.published.get(from)?.at(-1)
    repository.replace(to, (own) => file ?? own)
  },
  'turn consistent snapshots over': (repository) => {
    repository.root.consistent_snapshot = !repository.root.consistent_snapshot
    repository.publish('root')
  },
  'leave out a field': (repository, draw) => {
    const role = draw.one([...top, ...repository.targetsRoles.keys()])
    const signed = repository.signedOf(role)
    const field = draw.one([
      'spec_version',
      'expires',
      '_type',
      'version',
      'meta',
      'targets',
      'roles',
      'keys',
    ])
    const { [field]: value } = signed
    Reflect.deleteProperty(signed, field)
    const file = repository.signed(role)
    if (value !== undefined) signed[field] = value
    repository.replace(role, () => file)
  },
  'another specification': (repository, draw) => {
    const role = draw.one(top)
    repository.signedOf(role).spec_version = draw.one(['1.0', '1.0.0', '1.99.3', '2.0.0', '0.9', 'x'])
    repository.publish(role)
  },
  'a version that is none': (repository, draw) => {
    const role = draw.one(lists)
    const signed = repository.signedOf(role)
    const { version } = signed
    signed.version = draw.one([0, -1, 2 ** 60])
    const file = repository.signed(role)
    signed.version = version
    repository.replace(role, () => file)
  },
  'no JSON': (repository, draw) => {
    const text = draw.one([
      '',
      'null',
      '[]',
      '{',
      '{"signed":[],"signatures":{}}',
      '\ufeff{}',
      '[[[[[[]]]]]]',
    ])
    repository.replace(draw.one([...top, ...repository.targetsRoles.keys()]), () => Buffer.from(text))
  },
  'change a byte': (repository, draw) => {
    const role = draw.one([...top, ...repository.targetsRoles.keys()])
    repository.replace(role, (bytes) => {
      const file = Buffer.from(bytes)
      file[draw.below(file.length)] = 32 + draw.below(90)
      return file
    })
  },
  'add white space': (repository, draw) => {
    const role = draw.one([...top, ...repository.targetsRoles.keys()])
    repository.replace(role, (bytes) => Buffer.concat([bytes, Buffer.from(' \n')]))
  },
  'delegate once more': (repository, draw) => {
    delegate(repository, draw)
    repository.publish(...repository.targetsRoles.keys())
  },
  'delegate to another key': (repository, draw) => {
    const { delegations } = repository.targets
    const role = delegations?.roles?.at(0)
    if (!delegations || !role) return
    const signer = anyKey(draw)
    delegations.keys[signer.id] = signer.public
    role.keyids = [signer.id]
    if (draw.chance(0.5)) {
      repository.signers.set(role.name, [signer])
      repository.publish(role.name)
    }
    repository.publish('targets')
  },
  'delegate to names like numbers': (repository) => {
    for (const name of ['10', '2']) {
      if (repository.targets.delegations?.roles?.some((role) => role.name === name)) continue
      repository.delegate('targets', name, { signer: keyOf('ed25519', 0) })
      repository.publish(name)
    }
    repository.publish('targets')
  },
  'delegate to a top-level name': (repository, draw) => {
    repository.targets.delegations ??= { keys: {}, roles: [] }
    repository.targets.delegations.roles?.push({
      name: draw.one(top),
      keyids: [],
      threshold: 1,
      terminating: false,
      paths: ['*'],
    })
    repository.publish('targets')
  },
  'delegate by both kinds of paths': (repository) => {
    const role = repository.targets.delegations?.roles?.at(0)
    if (role) role.path_hash_prefixes = ['0', '8']
    repository.publish('targets')
  },
}
export function addKey(repository: Repository, role: string, draw: Draw): void {
  let signer = anyKey(draw)
  while (repository.roleOf(role).keyids.includes(signer.id)) signer = newSigner()
  repository.addKey(role, signer)
}

function signBy(repository: Repository, role: string, signers: readonly Signer[]): void {
  repository.signedOf(role).version++
  repository.place(role, repository.signed(role, signers))
}

function spoilMeta(repository: Repository, draw: Draw, spoil: (meta: Meta) => void): void {
  const metas = [...Object.values(repository.snapshot.meta), repository.timestamp.meta['snapshot.json']]
  spoil(draw.one(metas))
}

export function delegate(repository: Repository, draw: Draw): void {
  const from = draw.one([...repository.targetsRoles.keys()])
  const name = draw.one(roleNames)
  if (repository.targetsOf(from).delegations?.roles?.some((role) => role.name === name)) return
  const signer = repository.signersOf(name)[0] ?? anyKey(draw)
  const hex = [...'0123456789abcdef']
  repository.delegate(from, name, {
    signer,
    terminating: draw.chance(0.25),
    ...(draw.chance(0.2)
      ? { prefixes: hex.filter(() => draw.chance(0.6)) }
      : { paths: Array.from({ length: 1 + draw.below(2) }, () => draw.one(patterns)) }),
  })
}
