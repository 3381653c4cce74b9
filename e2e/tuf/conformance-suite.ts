/**
 * What a TUF client must do (specification 1.0.34, section 5), case by case: exit codes, requests in their order and
 * the files that are left. The cases are those of the public conformance suite and what it leaves open.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { canonical, DAY, isoDate, newSigner, Repository, type KeyKind, type Signer } from './repository.ts'
import { Client, type Run } from './client.ts'

const now = Date.UTC(2026, 5, 1)
const everything = { 'root.json': 1, 'snapshot.json': 1, 'targets.json': 1, 'timestamp.json': 1 }
const firstRefresh = ['2.root.json', 'timestamp.json', '1.snapshot.json', '1.targets.json']
/** A signature that looks like one of each kind and is not. */
const wrongSignature = { ed25519: 'b6'.repeat(64), ecdsa: '3046022100fa', rsa: '12'.repeat(256) } as const

/** `long`: the cases with hundreds of files too. */
export function conformance(run: Run, long = false): void {
  const clients: Client[] = []
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.stop()
  })
  async function start(repository: Repository, trusted?: Buffer, prefix?: string): Promise<Client> {
    const client = await Client.start(run, repository, trusted, prefix)
    clients.push(client)
    return client
  }
  const repo = (...kinds: KeyKind[]) => new Repository(now, kinds.length > 0 ? kinds : undefined)

  describe('a refresh', () => {
    test('asks for each file once, in order, keeps the original bytes and nothing else', async () => {
      const repository = repo()
      repository.published.set('timestamp', [
        Buffer.concat([repository.newest('timestamp'), Buffer.from(' ')]),
      ])
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      expect(client.asked).toEqual(firstRefresh)
      expect(await client.trusted()).toEqual(everything)
      for (const role of ['root', 'timestamp', 'snapshot', 'targets'])
        expect(await client.kept(role)).toEqual(repository.newest(role))
      expect(await client.refresh()).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json'])
    })

    test('of an earlier state fetches what changed', async () => {
      const repository = repo()
      const client = await start(repository)
      await client.refresh()
      repository.publish('snapshot', 'timestamp')
      expect(await client.refresh()).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json', '2.snapshot.json'])
    })

    test.each([false, undefined])(
      'without consistent snapshots (%s) asks for plain names',
      async (consistent) => {
        const repository = repo()
        repository.root.consistent_snapshot = false
        if (consistent === undefined) delete repository.root.consistent_snapshot
        repository.publish('root')
        const data = repository.addArtifact('targets', 'a/b', 'data')
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.refresh()).toBe(0)
        const plain = ['2.root.json', '3.root.json', 'timestamp.json', 'snapshot.json', 'targets.json']
        expect(client.asked).toEqual(plain)
        expect(await client.download('a/b')).toBe(0)
        expect(client.asked.at(-1)).toBe('targets/a/b')
        expect(await client.artifacts()).toEqual({ 'a%2Fb': data.toString() })
      },
    )

    test('works under any URL', async () => {
      const repository = repo()
      const client = await start(repository, undefined, '/some/where%20else')
      expect(await client.refresh()).toBe(0)
    })

    test('before init, or with a damaged root, asks for nothing', async () => {
      const repository = repo()
      const text = repository.firstRoot().toString()
      const signed = JSON.parse(text) as { signed: { version?: number }; signatures: { sig: string }[] }
      delete signed.signed.version
      for (const root of ['', '{}', JSON.stringify(signed), text.replace(/"sig":"../, '"sig":"00')]) {
        const client = await start(repository, Buffer.from(root))
        expect(await client.refresh()).toBe(1)
        expect(client.asked).toEqual([])
      }
      const client = await start(repository)
      await client.spoil('root', '{"signed":{}}')
      expect(await client.refresh()).toBe(1)
      expect(client.asked).toEqual([])
    })

    test('passes over local files that are damaged, and fetches them anew', async () => {
      const repository = repo()
      const client = await start(repository)
      await client.refresh()
      for (const [role, again] of [
        ['timestamp', []],
        ['snapshot', ['1.snapshot.json']],
        ['targets', ['1.targets.json']],
      ] as const) {
        for (const text of ['', 'x', '{}', '{"signatures":[],"signed":{"_type":"targets"}}', '\ufeff{}']) {
          await client.spoil(role, text)
          expect(await client.refresh()).toBe(0)
          expect(client.asked).toEqual(['2.root.json', 'timestamp.json', ...again])
          expect(await client.kept(role)).toEqual(repository.newest(role))
        }
      }
    })

    test.each(['timestamp', 'snapshot', 'targets'])('a %s that is not there ends it', async (role) => {
      const repository = repo()
      repository.published.delete(role)
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      const at = { timestamp: 1, snapshot: 2, targets: 3 }[role] ?? 0
      expect(client.asked).toEqual(firstRefresh.slice(0, at + 1))
    })

    test('keeps and signs for fields that it does not know', async () => {
      const repository = repo()
      repository.root['custom-field'] = 'value'
      repository.roleOf('root')['another-field'] = 'value'
      repository.addKey('root', newSigner('ed25519', { 'extra-field': { a: 1, b: [null, true] } }))
      repository.addKey('snapshot', newSigner('ed25519', { keyid_hash_algorithms: ['md5'] }))
      repository.publish('root', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      expect(await client.kept('root')).toEqual(repository.newest('root'))
    })
  })

  describe('arbitrary software:', () => {
    const left = {
      root: { 'root.json': 1 },
      timestamp: { 'root.json': 2 },
      snapshot: { 'root.json': 2, 'timestamp.json': 2 },
      targets: { 'root.json': 2, 'snapshot.json': 2, 'timestamp.json': 2 },
    } as const
    const roles = Object.keys(left) as (keyof typeof left)[]

    test.each(roles)('an unsigned %s is refused, what came before it is kept', async (role) => {
      const repository = repo()
      repository.signers.set(role, [])
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      expect(await client.trusted()).toEqual(left[role])
    })

    test.each(roles)('a %s signed by somebody else is refused', async (role) => {
      const repository = repo()
      repository.signers.set(role, [newSigner()])
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      expect(await client.trusted()).toEqual(left[role])
    })

    test.each(['ed25519', 'ecdsa', 'rsa'] as const)(
      '%s keys verify, and their wrong signatures do not',
      async (kind) => {
        const repository = repo()
        const signer = repository.addKey('root', newSigner(kind))
        repository.roleOf('root').threshold = 2
        repository.signersOf('root').push()
        repository.publish('root')
        const client = await start(repository)
        expect(await client.refresh()).toBe(0)
        for (const sig of [wrongSignature[kind], '', 'zz', 'ab'.repeat(3000)]) {
          repository.publish('root')
          repository.amend('root', ({ signatures }) => {
            for (const one of signatures) if (one.keyid === signer.id) one.sig = sig
          })
          expect(await client.refresh()).toBe(1)
          expect((await client.trusted())['root.json']).toBe(2)
          repository.published.get('root')?.pop()
          repository.root.version--
        }
      },
    )

    test('all roles with keys of every kind, ECDSA also under its old type, points in hex', async () => {
      const repository = repo('rsa', 'ecdsa', 'ed25519')
      const old = newSigner('ecdsa')
      const renamed = { ...old.public, keytype: 'ecdsa-sha2-nistp256' }
      repository.addKey('timestamp', { ...old, public: renamed })
      repository.roleOf('timestamp').threshold = 2
      repository.publish('root', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
    })

    test('key types and schemes that it does not know are passed over', async () => {
      const repository = repo()
      for (const [keytype, scheme] of [
        ['sphincs', 'sphincs-shake-128s'],
        ['rsa', 'rsassa-pss-sha1'],
        ['ed25519', 'ed25519ph'],
        ['__proto__', 'constructor'],
      ] as const) {
        const signer = newSigner()
        repository.addKey('snapshot', { ...signer, public: { ...signer.public, keytype, scheme } })
      }
      repository.publish('root', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      repository.roleOf('snapshot').threshold = 2
      repository.publish('root', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(1)
    })

    test('key ids are names: they need not be the hash of the key, and keys that nobody has do no harm', async () => {
      const repository = repo()
      repository.addKey('timestamp', { ...newSigner(), id: 'a name' })
      repository.roleOf('timestamp').threshold = 2
      repository.roleOf('snapshot').keyids.push('nobody')
      repository.publish('root', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
    })

    test('a threshold above the number of keys is never reached', async () => {
      const repository = repo()
      for (let i = 0; i < 4; i++) repository.addKey('snapshot', newSigner())
      repository.roleOf('snapshot').threshold = 6
      repository.publish('root', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      expect(await client.trusted()).toEqual({ 'root.json': 2, 'timestamp.json': 2 })
    })

    test('a threshold that was reached holds for the next version too', async () => {
      const repository = repo()
      repository.roleOf('snapshot').threshold = 3
      for (let i = 0; i < 2; i++) repository.addKey('snapshot', newSigner())
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      repository.signersOf('snapshot').pop()
      repository.publish('targets', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())['snapshot.json']).toBe(2)
    })

    test('one key does not count twice: listed twice, signing twice, or under other names and spellings', async () => {
      const cases: ((repository: Repository) => void)[] = [
        (repository) => {
          const { keyids } = repository.roleOf('snapshot')
          keyids.push(...keyids)
          repository.publish('root', 'snapshot', 'timestamp')
        },
        (repository) => {
          repository.publish('root', 'snapshot', 'timestamp')
          repository.amend('snapshot', ({ signatures }) => signatures.push(...signatures))
        },
        ...(['ed25519', 'ecdsa', 'rsa'] as const).map((kind) => (repository: Repository) => {
          const signer = newSigner(kind)
          repository.roleOf('snapshot').keyids = []
          repository.signers.set('snapshot', [])
          repository.addKey('snapshot', signer)
          const { public: text } = signer.public.keyval
          const spelt = kind === 'ed25519' ? text.toUpperCase() : text.replaceAll('\n', '\r\n')
          const alias = { ...signer.public, keyval: { public: spelt } }
          repository.addKey('snapshot', { ...signer, id: 'alias', public: alias })
          repository.publish('root', 'snapshot', 'timestamp')
        }),
      ]
      for (const spoil of cases) {
        const repository = repo()
        repository.roleOf('snapshot').threshold = 2
        spoil(repository)
        const client = await start(repository)
        expect(await client.refresh()).toBe(1)
        expect((await client.trusted())['snapshot.json']).toBeUndefined()
      }
    })

    test('two signatures under one id are refused even if one would do', async () => {
      const repository = repo()
      repository.amend('snapshot', ({ signatures }) => signatures.push(...signatures))
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())['snapshot.json']).toBeUndefined()
    })

    test('a signature that is wrong, or none, does no harm beside one that is right', async () => {
      for (const sig of ['ab'.repeat(64), '', 'not hex']) {
        const repository = repo()
        const bad = repository.addKey('timestamp', newSigner())
        repository.publish('root', 'timestamp')
        repository.amend('timestamp', ({ signatures }) => {
          for (const one of signatures) if (one.keyid === bad.id) one.sig = sig
        })
        const client = await start(repository)
        expect(await client.refresh()).toBe(0)
      }
    })

    test('a file of another type is refused though the right key signed it', async () => {
      const repository = repo()
      const [signer] = repository.signersOf('timestamp')
      repository.addKey('snapshot', signer!)
      repository.snapshot.meta = { 'snapshot.json': { version: 1 } }
      repository.publish('root', 'snapshot')
      repository.published.get('timestamp')?.push(repository.newest('snapshot'))
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
      expect(await client.trusted()).toEqual({ 'root.json': 2 })
    })
  })

  describe('root rotation:', () => {
    type Step = Readonly<{ keys: number[]; threshold: number; sigs: number[] }>
    const step = (keys: number[], threshold: number, sigs: number[]): Step => ({ keys, threshold, sigs })
    const five = [0, 1, 2, 3, 4]
    const cases: Record<string, Readonly<{ steps: Step[]; ok: boolean }>> = {
      '1 of 1': { steps: [step([1], 1, [1]), step([2], 1, [2, 1]), step([2], 1, [2])], ok: true },
      'signatures of others': {
        steps: [step([1], 1, [3, 1, 4]), step([2], 1, [3, 2, 1, 4]), step([2], 1, [3, 2, 4])],
        ok: true,
      },
      '3 of 5, other three each time': {
        steps: [step(five, 3, [0, 2, 4]), step(five, 3, [0, 4, 1]), step(five, 3, [0, 1, 3])],
        ok: true,
      },
      '3 of 5, one exchanged': {
        steps: [step(five, 3, [0, 2, 4]), step([0, 1, 3, 4, 5], 3, [0, 4, 1])],
        ok: true,
      },
      '3 of 5, all exchanged': {
        steps: [
          step(five, 3, [0, 2, 4]),
          step([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]),
          step([5, 6, 7, 8, 9], 3, [5, 6, 7]),
        ],
        ok: true,
      },
      '1 of 3 to 2 of 3': { steps: [step([1, 2, 3], 1, [1]), step([1, 2, 3], 2, [1, 2])], ok: true },
      '2 of 3 to 1 of 3': {
        steps: [step([1, 2, 3], 2, [1, 2]), step([1, 2, 3], 1, [1, 2]), step([1, 2, 3], 1, [1])],
        ok: true,
      },
      'not signed by the old key': { steps: [step([1], 1, [1]), step([2], 1, [2, 3, 4])], ok: false },
      'not signed by the new key': { steps: [step([1], 1, [1]), step([2], 1, [1, 3, 4])], ok: false },
      'too few of the new': {
        steps: [step(five, 3, [0, 2, 4]), step([0, 1, 3, 4, 5], 3, [0, 2, 4])],
        ok: false,
      },
      'too few of the old': {
        steps: [step(five, 3, [0, 2, 4]), step([0, 1, 3, 4, 5], 3, [0, 4, 5])],
        ok: false,
      },
      'a raised threshold not reached': {
        steps: [step([1, 2, 3], 1, [1]), step([1, 2, 3], 2, [2])],
        ok: false,
      },
      'a lowered one, the old not reached': {
        steps: [step([1, 2, 3], 2, [1, 2]), step([1, 2, 3], 1, [1])],
        ok: false,
      },
    }
    const signers: Signer[] = Array.from({ length: 10 }, () => newSigner())

    test.each(Object.entries(cases))('%s', async (_, { steps, ok }) => {
      const repository = repo()
      repository.published.set('root', [])
      for (const [i, { keys, threshold, sigs }] of steps.entries()) {
        repository.root.version = i
        repository.roleOf('root').keyids = []
        for (const key of keys) repository.addKey('root', signers[key]!)
        repository.signers.set(
          'root',
          sigs.map((sig) => signers[sig]!),
        )
        repository.roleOf('root').threshold = threshold
        repository.root.version = i + 1
        repository.place('root', repository.signed('root'))
      }
      const client = await start(repository)
      expect(await client.refresh()).toBe(ok ? 0 : 1)
      const roots = repository.published.get('root') ?? []
      expect(await client.kept('root')).toEqual(roots.at(ok ? -1 : -2))
    })

    test('a root that skips a version, or says the one before, is refused', async () => {
      for (const version of [1, 3]) {
        const repository = repo()
        repository.root.version = version
        repository.place('root', repository.signed('root'))
        const client = await start(repository)
        expect(await client.refresh()).toBe(1)
        expect(await client.trusted()).toEqual({ 'root.json': 1 })
      }
    })

    test.runIf(long)('so many roots are taken in one refresh, and the rest in the next', async () => {
      const repository = repo()
      for (let i = 0; i < 260; i++) repository.publish('root')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      expect((await client.trusted())['root.json']).toBe(257)
      expect(await client.refresh()).toBe(0)
      expect((await client.trusted())['root.json']).toBe(261)
    })

    test.each(['timestamp', 'snapshot', 'targets'])('keys of the %s are exchanged', async (role) => {
      const repository = repo()
      const client = await start(repository)
      await client.refresh()
      const before = repository.signersOf(role)
      repository.rotate(role)
      const after = repository.signersOf(role)
      repository.signers.set(role, before)
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(1)
      repository.signers.set(role, after)
      repository.publish('targets', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(0)
      expect(await client.kept(role)).toEqual(repository.newest(role))
    })
  })

  describe('freeze:', () => {
    test('the last root must be in date, those between need not', async () => {
      const repository = repo()
      repository.root.expires = isoDate(now - DAY)
      repository.publish('root')
      repository.root.expires = isoDate(now + 30 * DAY)
      repository.publish('root')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      repository.root.expires = isoDate(now - DAY)
      repository.publish('root')
      expect(await client.refresh()).toBe(1)
      expect(await client.trusted()).toEqual({ ...everything, 'root.json': 4 })
      expect(client.asked).toEqual(['4.root.json', '5.root.json'])
    })

    test.each(['timestamp', 'snapshot', 'targets'])('an expired %s is not taken', async (role) => {
      const repository = repo()
      const client = await start(repository)
      await client.refresh()
      repository.signedOf(role).expires = isoDate(now - 5 * DAY)
      repository.publish('targets', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())[`${role}.json`]).toBe(1)
    })

    test('it expires at the very second', async () => {
      const repository = repo()
      repository.timestamp.expires = isoDate(now)
      repository.publish('timestamp')
      const client = await start(repository)
      // A process starts some time after the moment that it is given.
      client.nowMs = now - 60_000
      expect(await client.refresh()).toBe(0)
      client.nowMs = now
      expect(await client.refresh()).toBe(1)
    })

    test('a date that is none counts as past', async () => {
      const repository = repo()
      repository.timestamp.expires = '2026-02-31T00:00:00Z'.replace('2026', '2999')
      repository.publish('timestamp')
      const client = await start(repository)
      client.nowMs = now
      const code = await client.refresh()
      expect([0, 1]).toContain(code)
      repository.timestamp.expires = '2999-13-01T00:00:00Z'
      repository.publish('timestamp')
      expect(await client.refresh()).toBe(1)
    })

    test('what was kept and has expired is replaced by what is newer', async () => {
      const repository = repo()
      repository.root.expires = isoDate(now + 7 * DAY)
      repository.timestamp.expires = isoDate(now + 7 * DAY)
      repository.snapshot.expires = isoDate(now + 7 * DAY)
      repository.targets.expires = isoDate(now + 7 * DAY)
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      client.nowMs = now + 18 * DAY
      expect(await client.refresh()).toBe(1)
      for (const role of ['root', 'timestamp', 'snapshot', 'targets'])
        repository.signedOf(role).expires = isoDate(now + 21 * DAY)
      repository.publish('root', 'targets', 'snapshot', 'timestamp')
      expect(await client.refresh()).toBe(0)
      expect(await client.trusted()).toEqual({
        'root.json': 3,
        'snapshot.json': 3,
        'targets.json': 3,
        'timestamp.json': 3,
      })
    })

    test('the same timestamp again does not live longer than it says', async () => {
      const repository = repo()
      repository.timestamp.expires = isoDate(now + DAY)
      repository.publish('timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      client.nowMs = now + 2 * DAY
      expect(await client.refresh()).toBe(1)
      expect(client.asked.at(-1)).toBe('timestamp.json')
    })
  })

  describe('rollback:', () => {
    test('an older timestamp is refused, also by one that has expired', async () => {
      const repository = repo()
      repository.timestamp.expires = isoDate(now + 7 * DAY)
      const first = repository.newest('timestamp')
      repository.publish('timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      repository.published.get('timestamp')?.push(first)
      expect(await client.refresh()).toBe(1)
      client.nowMs = now + 10 * DAY
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())['timestamp.json']).toBe(2)
      expect(client.asked.at(-1)).toBe('timestamp.json')
    })

    test('the same version with other content changes nothing', async () => {
      const repository = repo()
      const client = await start(repository)
      await client.refresh()
      const before = await client.kept('timestamp')
      repository.timestamp.meta['snapshot.json'].version = 100
      repository.place('timestamp', repository.signed('timestamp'))
      expect(await client.refresh()).toBe(0)
      expect(client.asked.at(-1)).toBe('timestamp.json')
      expect(await client.kept('timestamp')).toEqual(before)
    })

    test.each([false, true])(
      'an older snapshot, and one that lists older targets (hashes: %s)',
      async (hashes) => {
        const repository = repo()
        repository.listHashes = hashes
        repository.publish('targets', 'snapshot', 'timestamp')
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.refresh()).toBe(0)
        const listed = repository.timestamp.meta['snapshot.json']
        repository.timestamp.meta['snapshot.json'] = { version: 2 }
        repository.publish('timestamp')
        expect(await client.refresh()).toBe(1)
        expect(await client.trusted()).toMatchObject({ 'timestamp.json': 3, 'snapshot.json': 3 })
        repository.timestamp.meta['snapshot.json'] = listed
        repository.snapshot.meta['targets.json'] = { version: 2 }
        repository.publish('snapshot', 'timestamp')
        expect(await client.refresh()).toBe(1)
        expect(await client.trusted()).toMatchObject({ 'snapshot.json': 3, 'targets.json': 3 })
        delete repository.snapshot.meta['targets.json']
        repository.publish('snapshot', 'timestamp')
        expect(await client.refresh()).toBe(1)
        expect(await client.trusted()).toMatchObject({ 'snapshot.json': 3, 'targets.json': 3 })
      },
    )

    test('a delegated role that goes back, or is no longer listed', async () => {
      const repository = repo()
      repository.delegate('targets', 'A')
      repository.publish('A', 'targets', 'snapshot', 'timestamp')
      repository.publish('A', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      for (const meta of [{ version: 1 }, undefined]) {
        if (meta) repository.snapshot.meta['A.json'] = meta
        else delete repository.snapshot.meta['A.json']
        repository.publish('snapshot', 'timestamp')
        expect(await client.refresh()).toBe(1)
        expect((await client.trusted())['snapshot.json']).toBe(3)
      }
    })

    test.each([
      ['timestamp', ['timestamp']],
      ['snapshot', ['snapshot']],
      ['snapshot, with both keys', ['snapshot', 'timestamp']],
      ['targets', ['snapshot']],
    ])('fast forward of the %s ends with new keys', async (what, keys) => {
      const repository = repo()
      const role = what.split(',')[0] ?? ''
      const far = 1000
      const files = repository.published.get(role) ?? []
      while (files.length < far - 1) files.push(repository.newest(role))
      repository.signedOf(role).version = far - 1
      repository.publish(role)
      const order = ['targets', 'snapshot', 'timestamp']
      repository.publish(...order.slice(order.indexOf(role) + 1))
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      expect((await client.trusted())[`${role}.json`]).toBe(far)

      for (const key of keys) repository.rotate(key)
      repository.publish('root')
      repository.signedOf(role).version = 1
      repository.published.set(role, [])
      repository.place(role, repository.signed(role))
      repository.publish(...order.slice(order.indexOf(role) + 1))
      expect(await client.refresh()).toBe(0)
      expect((await client.trusted())[`${role}.json`]).toBe(1)
    })

    test('a key that is added takes no floor away', async () => {
      const repository = repo()
      const first = repository.newest('timestamp')
      repository.publish('timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      repository.addKey('timestamp', newSigner())
      repository.roleOf('snapshot').threshold = 2
      repository.addKey('snapshot', newSigner())
      repository.publish('root')
      repository.published.get('timestamp')?.push(first)
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())['timestamp.json']).toBe(2)
    })
  })

  describe('mix and match:', () => {
    test.each(['snapshot', 'targets'])('a %s of another version than its name says', async (role) => {
      const repository = repo()
      repository.signedOf(role).version++
      repository.publish('targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      // Listed as 3, served as 2: whoever asks for 3 gets nothing, whoever gets 2 reads 3.
      repository.published.get(role)?.push(repository.newest(role))
      repository.published.get(role)?.splice(2, 1, repository.published.get(role)![0]!)
      expect(await client.refresh()).toBe(1)
      expect((await client.trusted())[`${role}.json`]).toBeUndefined()
    })

    const sums = { sha256: 64, sha512: 128 } as const
    test.each(['sha256', 'sha512'] as const)(
      'lengths and %s of metadata are checked where they are listed',
      async (name) => {
        const { createHash } = await import('node:crypto')
        for (const wrong of [false, true]) {
          for (const field of ['hash', 'shorter', 'longer'] as const) {
            const repository = repo()
            repository.publish('targets')
            const bytes = repository.newest('targets')
            const right = createHash(name).update(bytes).digest('hex')
            const hash = wrong && field === 'hash' ? '0'.repeat(sums[name]) : right.toUpperCase()
            const off = { hash: 0, shorter: -1, longer: 1 }[field]
            const length = bytes.length + (wrong ? off : 0)
            repository.snapshot.meta['targets.json'] = {
              version: 2,
              length,
              hashes: { [name]: hash, md5: 'x' },
            }
            repository.publish('snapshot', 'timestamp')
            const client = await start(repository)
            expect(await client.refresh()).toBe(wrong ? 1 : 0)
            expect((await client.trusted())['targets.json']).toBe(wrong ? undefined : 2)
          }
        }
      },
    )

    test('a list with no hash that is known proves nothing', async () => {
      const repository = repo()
      repository.snapshot.meta['targets.json'] = { version: 1, hashes: { md5: 'x' } }
      repository.publish('snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(1)
    })
  })

  describe('endless data:', () => {
    test('metadata is read no further than its limit, or than is listed', async () => {
      const endless = Buffer.alloc(6_000_000, ' ')
      for (const role of ['root', 'timestamp', 'snapshot', 'targets']) {
        const repository = repo()
        if (role === 'root') repository.published.get('root')?.push(endless)
        else repository.published.set(role, [endless])
        const client = await start(repository)
        expect(await client.refresh()).toBe(1)
        expect((await client.trusted())['targets.json']).toBeUndefined()
      }
    })
  })

  describe('delegations:', () => {
    type Edge = readonly [from: string, to: string, options?: { paths?: string[]; terminating?: boolean }]
    const py = { paths: ['*.py'] }
    const end = { terminating: true }
    const graphs: Record<string, Readonly<{ edges: Edge[]; visited: string[] }>> = {
      one: { edges: [['targets', 'A']], visited: ['A'] },
      'one level': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
        ],
        visited: ['A', 'B'],
      },
      'two levels': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['B', 'C'],
        ],
        visited: ['A', 'B', 'C'],
      },
      'depth first': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['A', 'C'],
          ['A', 'D'],
        ],
        visited: ['A', 'C', 'D', 'B'],
      },
      'three levels': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['A', 'C'],
          ['C', 'D'],
        ],
        visited: ['A', 'C', 'D', 'B'],
      },
      'a terminating one ends it': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['A', 'C', end],
          ['A', 'D'],
        ],
        visited: ['A', 'C'],
      },
      'a terminating one has its own': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['A', 'C', end],
          ['C', 'D'],
        ],
        visited: ['A', 'C', 'D'],
      },
      'paths that do not match': {
        edges: [
          ['targets', 'A', py],
          ['targets', 'B'],
          ['A', 'C'],
        ],
        visited: ['B'],
      },
      'paths that do not match below': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['A', 'C', py],
          ['C', 'D'],
        ],
        visited: ['A', 'B'],
      },
      'a terminating one that does not match': {
        edges: [
          ['targets', 'A', { ...py, ...end }],
          ['targets', 'B'],
        ],
        visited: ['B'],
      },
      cycle: {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['B', 'C'],
          ['C', 'D'],
          ['D', 'B'],
        ],
        visited: ['A', 'B', 'C', 'D'],
      },
      'to oneself': {
        edges: [
          ['targets', 'A'],
          ['A', 'A'],
          ['A', 'B'],
        ],
        visited: ['A', 'B'],
      },
      'two to a third': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['B', 'C'],
          ['A', 'C'],
        ],
        visited: ['A', 'C', 'B'],
      },
      'two to a third by other paths': {
        edges: [
          ['targets', 'A'],
          ['targets', 'B'],
          ['B', 'C'],
          ['A', 'C', py],
        ],
        visited: ['A', 'B', 'C'],
      },
      'names that look like numbers keep their order': {
        edges: [
          ['targets', '10'],
          ['targets', '2'],
          ['targets', '1'],
        ],
        visited: ['10', '2', '1'],
      },
    }

    test.each(Object.entries(graphs))(
      'the search visits each once, in order: %s',
      async (_, { edges, visited }) => {
        const repository = repo()
        const shared = new Map<string, Signer>()
        for (const [from, to, options] of edges) {
          repository.addRole(from)
          const signer = shared.get(to) ?? newSigner()
          shared.set(to, signer)
          repository.delegate(from, to, { ...options, signer })
        }
        repository.publish(...shared.keys(), 'targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.download('missing')).toBe(1)
        expect(client.asked.slice(4)).toEqual(visited.map((role) => `1.${role}.json`))
      },
    )

    function tree(): Repository {
      const repository = repo()
      repository.delegate('targets', 'A', { paths: ['*.doc', '*.md'] })
      repository.delegate('targets', 'B', { paths: ['releases/*/*'] })
      repository.delegate('B', 'C', { paths: ['releases/x/*'] })
      repository.delegate('B', 'D', { paths: ['releases/y/*.zip'] })
      repository.addArtifact('targets', 'targetfile', 'by targets')
      repository.addArtifact('A', 'README.md', 'by A')
      repository.addArtifact('C', 'releases/x/x_v1', 'x by C')
      repository.addArtifact('D', 'releases/y/y_v1.zip', 'y by D')
      repository.addArtifact('D', 'releases/z/z_v1.zip', 'z by D')
      repository.publish('A', 'B', 'C', 'D', 'targets', 'snapshot', 'timestamp')
      return repository
    }
    test.each([
      ['targetfile', true, []],
      ['README.md', true, ['A']],
      ['releases/x/x_v1', true, ['B', 'C']],
      ['releases/y/y_v1.zip', true, ['B', 'D']],
      ['releases/z/z_v1.zip', false, ['B']],
      ['releases/x/deep/er', false, []],
    ] as const)('%s is found: %s', async (path, found, visited) => {
      const repository = tree()
      const client = await start(repository)
      expect(await client.download(path)).toBe(found ? 0 : 1)
      const asked = client.asked.slice(4).filter((file) => !file.startsWith('targets/'))
      expect(asked).toEqual(visited.map((role) => `1.${role}.json`))
      expect(Object.values(await client.artifacts())).toEqual(
        found ? [repository.artifacts.get(path)?.toString()] : [],
      )
    })

    test('the first role that knows a target is believed, not the next', async () => {
      const repository = repo()
      for (const role of ['A', 'B']) {
        repository.delegate('targets', role)
        repository.addArtifact(role, 'x', `by ${role}`)
      }
      repository.artifacts.set('x', Buffer.from('by A'))
      repository.publish('A', 'B', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(0)
      expect(await client.artifacts()).toEqual({ x: 'by A' })
    })

    test('kept delegated files are used again, while they are what the snapshot lists', async () => {
      const repository = tree()
      const client = await start(repository)
      await client.download('README.md')
      expect(await client.download('README.md')).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json'])
      repository.publish('A', 'snapshot', 'timestamp')
      expect(await client.download('README.md')).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json', '3.snapshot.json', '2.A.json'])
      await client.spoil('A', '{}')
      expect(await client.download('README.md')).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json', '2.A.json'])
    })

    test('a kept role counts only with the keys of its delegator of today', async () => {
      const repository = repo()
      const signer = newSigner()
      repository.delegate('targets', 'A', { signer })
      repository.addArtifact('A', 'x', 'by A')
      repository.publish('A', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(0)
      // The key is taken away and the role's file not signed again: its version stays.
      const fresh = newSigner()
      repository.targets.delegations = {
        keys: { [fresh.id]: fresh.public },
        roles: [{ name: 'A', keyids: [fresh.id], threshold: 1, terminating: false, paths: ['*'] }],
      }
      repository.publish('targets', 'snapshot', 'timestamp')
      await writeFile(join(client.artifactDir, 'x'), 'other')
      expect(await client.download('x')).toBe(1)
      expect(client.asked.at(-1)).toBe('1.A.json')
      expect(await client.artifacts()).toEqual({ x: 'other' })
    })

    test('a role with two delegators and different keys: what one vouches for, the other need not', async () => {
      const repository = repo()
      repository.delegate('targets', 'A', { paths: ['a-*'] })
      repository.delegate('targets', 'B', { paths: ['b-*'] })
      const signer = newSigner()
      repository.delegate('A', 'C', { signer, paths: ['*'] })
      repository.delegate('B', 'C', { paths: ['*'] })
      repository.addArtifact('C', 'a-1', 'one')
      repository.addArtifact('C', 'b-1', 'two')
      repository.signers.set('C', [signer])
      repository.publish('A', 'B', 'C', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('a-1')).toBe(0)
      expect(await client.download('b-1')).toBe(1)
      expect(await client.download('a-1', 'b-1')).toBe(1)
      expect(Object.keys(await client.artifacts())).toEqual(['a-1'])
    })

    const spoilt: Record<string, (repository: Repository) => void> = {
      'not signed': (repository) => repository.signers.set('A', []),
      'signed by the vendor only': (repository) =>
        repository.signers.set('A', repository.signersOf('targets')),
      expired: (repository) => (repository.targetsOf('A').expires = isoDate(now - DAY)),
      'below its threshold': (repository) => {
        const [role] = repository.targets.delegations?.roles ?? []
        role!.threshold = 2
      },
    }
    test.each(Object.entries(spoilt))('a delegated role that is %s ends the search', async (_, spoil) => {
      const repository = repo()
      repository.delegate('targets', 'A')
      repository.delegate('targets', 'B')
      repository.addArtifact('A', 'x', 'x')
      repository.addArtifact('B', 'y', 'y')
      spoil(repository)
      repository.publish('A', 'B', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.refresh()).toBe(0)
      for (const path of ['x', 'y']) expect(await client.download(path)).toBe(1)
      expect(client.asked.at(-1)).toBe('1.A.json')
      expect(Object.keys(await client.trusted())).not.toContain('A.json')
      expect(await client.artifacts()).toEqual({})
    })

    test('a delegated role that the snapshot does not list, or that is not served, ends the search', async () => {
      const repository = repo()
      repository.delegate('targets', 'A')
      repository.delegate('targets', 'B')
      repository.addArtifact('B', 'y', 'y')
      repository.publish('B', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('y')).toBe(1)
      expect(client.asked.slice(4)).toEqual([])
      repository.snapshot.meta['A.json'] = { version: 1 }
      repository.publish('snapshot', 'timestamp')
      expect(await client.download('y')).toBe(1)
      expect(client.asked.at(-1)).toBe('1.A.json')
    })

    test('a kept role that has expired is not used, and its newer version is', async () => {
      const repository = repo()
      repository.delegate('targets', 'A')
      repository.addArtifact('A', 'first', 'first')
      repository.addArtifact('A', 'second', 'second')
      repository.targetsOf('A').expires = isoDate(now + 7 * DAY)
      repository.publish('A', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('first')).toBe(0)
      client.nowMs = now + 18 * DAY
      expect(await client.download('second')).toBe(1)
      repository.targetsOf('A').expires = isoDate(now + 21 * DAY)
      repository.publish('A', 'snapshot', 'timestamp')
      expect(await client.download('second')).toBe(0)
    })

    test('length and hashes that the snapshot lists for a role are checked', async () => {
      for (const wrong of [{ length: 10 }, { hashes: { sha256: '0'.repeat(64) } }]) {
        const repository = repo()
        repository.listHashes = true
        repository.delegate('targets', 'A')
        repository.addArtifact('A', 'x', 'x')
        repository.publish('A', 'targets')
        repository.snapshot.meta['A.json'] = { ...repository.snapshot.meta['A.json']!, ...wrong }
        repository.publish('snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.download('x')).toBe(1)
        expect(Object.keys(await client.trusted())).not.toContain('A.json')
      }
    })

    test.each([
      ['?', '%3F'],
      ['#', '%23'],
      ['/role', '%2Frole'],
      ['../role', '..%2Frole'],
      ['.', '.'],
      ['..', '..'],
      ['a b~_-', 'a%20b~_-'],
      ['ü%2F', '%C3%BC%252F'],
      ["'()!*", '%27%28%29%21%2A'],
    ])('a role called %s is asked for and kept as %s', async (name, encoded) => {
      const repository = repo()
      repository.delegate('targets', name)
      repository.addArtifact(name, 'x', 'x')
      repository.publish(name, 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(0)
      expect(client.asked[4]).toBe(`1.${encoded}.json`)
      expect(Object.keys(await client.trusted())).toContain(`${encoded}.json`)
      expect(Object.keys(await client.trusted())).toHaveLength(5)
    })

    test.each(['root', 'targets', 'timestamp', 'snapshot', '', 'x'.repeat(201), 'ü'.repeat(40)])(
      'no role may be called %s',
      async (name) => {
        const repository = repo()
        const signer = newSigner()
        repository.targets.delegations = {
          keys: { [signer.id]: signer.public },
          roles: [{ name, keyids: [signer.id], threshold: 1, terminating: false, paths: ['*'] }],
        }
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.refresh()).toBe(1)
        expect((await client.trusted())['targets.json']).toBeUndefined()
      },
    )

    test('paths are divided by the beginnings of their hashes', async () => {
      const repository = repo()
      const hex = [...'0123456789abcdef']
      for (const [i, digit] of hex.entries())
        if (i % 4 === 0) repository.delegate('targets', `bin-${digit}`, { prefixes: hex.slice(i, i + 4) })
      // SHA-256 of 'x' begins with 2d711642, of 'y' with a1fce436.
      repository.addArtifact('bin-0', 'x', 'x')
      repository.addArtifact('bin-8', 'y', 'y')
      repository.addArtifact('bin-0', 'not here', 'z')
      repository.publish('bin-0', 'bin-4', 'bin-8', 'bin-c', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(0)
      expect(client.asked.slice(4, -1)).toEqual(['1.bin-0.json'])
      expect(await client.download('y')).toBe(0)
      expect(client.asked.slice(2, -1)).toEqual(['1.bin-8.json'])
    })

    test('succinct roles: the bin follows from the first bits of the hash', async () => {
      const repository = repo()
      const signer = newSigner()
      repository.targets.delegations = {
        keys: { [signer.id]: signer.public },
        succinct_roles: { keyids: [signer.id], threshold: 1, bit_length: 5, name_prefix: 'bin' },
      }
      const bins = Array.from({ length: 32 }, (_, i) => `bin-${i.toString(16).padStart(2, '0')}`)
      for (const bin of bins) {
        repository.addRole(bin)
        repository.signers.set(bin, [signer])
      }
      repository.addArtifact('bin-05', 'x', 'x') // 0x2d >> 3
      repository.publish(...bins, 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(0)
      expect(client.asked.slice(4, -1)).toEqual(['1.bin-05.json'])
      expect(await client.download('nothing')).toBe(1)
    })

    test.runIf(long)('so many roles are asked, and no more', async () => {
      const repository = repo()
      const names = Array.from({ length: 140 }, (_, i) => `r${i}`)
      const signer = newSigner()
      for (const name of names) repository.delegate('targets', name, { signer })
      repository.addArtifact('r139', 'x', 'x')
      repository.publish(...names, 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('x')).toBe(1)
      expect(client.asked.at(-1)).toBe('1.r126.json')
    })

    test.each([
      ['a*c', 'abbc', true],
      ['a*c', 'a/c', false],
      ['?.txt', 'a.txt', true],
      ['?.txt', 'aa.txt', false],
      ['*', '.hidden', false],
      ['.h*', '.hidden', true],
      ['d/?x', 'd/.x', false],
      ['**', 'a/b', false],
      ['a/*/c', 'a/b/c', true],
      ['a/*', 'a/b/c', false],
      ['[a-c]x', 'bx', true],
      ['[!a-c]x', 'bx', false],
      ['a.b', 'axb', false],
      ['(a|b)', 'a', false],
      ['', 'a', false],
      ['*a*a*a*a*a*a*a*a*a*b', 'a'.repeat(200), false],
    ])('the pattern %s covers %s: %s', async (pattern, path, covers) => {
      const repository = repo()
      repository.delegate('targets', 'A', { paths: ['none', pattern] })
      repository.addArtifact('A', path, 'x')
      repository.publish('A', 'targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download(path)).toBe(covers ? 0 : 1)
      expect(client.asked.slice(4).includes('1.A.json')).toBe(covers)
    })

    test('both kinds of paths at once, or a name twice, is not TUF', async () => {
      const spoilings: ((repository: Repository) => void)[] = [
        (repository) => {
          const [role] = repository.targets.delegations?.roles ?? []
          role!.path_hash_prefixes = ['0']
        },
        (repository) => {
          const roles = repository.targets.delegations?.roles ?? []
          roles.push(...roles)
        },
      ]
      for (const spoil of spoilings) {
        const repository = repo()
        repository.delegate('targets', 'A')
        spoil(repository)
        repository.publish('A', 'targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.refresh()).toBe(1)
      }
    })
  })

  describe('artifacts:', () => {
    test('download refreshes first; what nobody lists is not fetched', async () => {
      const repository = repo()
      const client = await start(repository)
      expect(await client.download('nothing')).toBe(1)
      expect(client.asked).toEqual(firstRefresh)
      expect(await client.trusted()).toEqual(everything)
    })

    test('are named by hash and base name, kept whole, and not fetched again', async () => {
      const repository = repo()
      repository.addArtifact('targets', 'a/b/file.txt', 'text')
      repository.addArtifact('targets', 'plain', 'more')
      repository.publish('targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      expect(await client.download('a/b/file.txt', 'plain')).toBe(0)
      const text = '982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1'
      expect(client.asked.slice(4)[0]).toBe(`targets/a/b/${text}.file.txt`)
      expect(await client.artifacts()).toEqual({ 'a%2Fb%2Ffile.txt': 'text', plain: 'more' })
      expect(await client.download('plain', 'a/b/file.txt')).toBe(0)
      expect(client.asked).toEqual(['2.root.json', 'timestamp.json'])
    })

    test('of other bytes than signed are refused: changed, cut, longer; what is there stays', async () => {
      const repository = repo()
      repository.addArtifact('targets', 'x', 'right')
      repository.publish('targets', 'snapshot', 'timestamp')
      const client = await start(repository)
      for (const bad of ['wrong', 'righ', 'right and more', '']) {
        repository.artifacts.set('x', Buffer.from(bad))
        expect(await client.download('x')).toBe(1)
        expect(await client.artifacts()).toEqual({})
      }
      repository.artifacts.set('x', Buffer.from('right'))
      expect(await client.download('x')).toBe(0)
      repository.artifacts.set('x', Buffer.from('wrong'))
      expect(await client.download('x')).toBe(0)
      expect(await client.artifacts()).toEqual({ x: 'right' })
    })

    test('a newer version replaces the older; a file that was spoilt is fetched again', async () => {
      const repository = repo()
      const client = await start(repository)
      for (const text of ['one', 'two', 'three']) {
        repository.addArtifact('targets', 'x', text)
        repository.publish('targets', 'snapshot', 'timestamp')
        expect(await client.download('x')).toBe(0)
        expect(await client.artifacts()).toEqual({ x: text })
      }
      await writeFile(join(client.artifactDir, 'x'), 'eerht')
      expect(await client.download('x')).toBe(0)
      expect(await client.artifacts()).toEqual({ x: 'three' })
    })

    test('several are fetched in order, up to the first that fails', async () => {
      const repository = repo()
      for (const path of ['a', 'b', 'c']) repository.addArtifact('targets', path, path)
      repository.publish('targets', 'snapshot', 'timestamp')
      repository.artifacts.set('b', Buffer.from('x'))
      const client = await start(repository)
      expect(await client.download('a', 'b', 'c')).toBe(1)
      expect(Object.keys(await client.artifacts())).toEqual(['a'])
      expect(client.asked.filter((file) => file.startsWith('targets/'))).toHaveLength(2)
    })

    test.each([['sha256'], ['sha512'], ['sha512', 'sha256']] as ('sha256' | 'sha512')[][])(
      'with the hashes %s %s',
      async (...hashes) => {
        const repository = repo()
        const names = hashes.filter((name) => name !== undefined)
        repository.addArtifact('targets', 'x', 'data', names)
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.download('x')).toBe(0)
        repository.addArtifact('targets', 'x', 'else', names)
        for (const name of names) repository.targets.targets['x']!.hashes[name] = '0'.repeat(64)
        repository.publish('targets', 'snapshot', 'timestamp')
        expect(await client.download('x')).toBe(1)
      },
    )

    test.each(['a b', 'ü', 'a?b#c', '100%', 'dir/ü?', 'x/.hidden', '...'])(
      'a target called %s',
      async (path) => {
        const repository = repo()
        repository.addArtifact('targets', path, 'data')
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        expect(await client.download(path)).toBe(0)
        expect(Object.values(await client.artifacts())).toEqual(['data'])
      },
    )

    test.each(['../x', 'a/../../x', '/etc/x/..', '.', '..', 'x'.repeat(10_000), 'a/./b'])(
      'a target that would climb or not fit (%s) is not written',
      async (path) => {
        const repository = repo()
        repository.addArtifact('targets', path, 'data')
        repository.publish('targets', 'snapshot', 'timestamp')
        const client = await start(repository)
        await mkdir(client.artifactDir, { recursive: true })
        expect(await client.download(path)).toBe(1)
        expect(await client.artifacts()).toEqual({})
      },
    )
  })

  test('canonical JSON of what signs and what verifies is one', () => {
    expect(canonical({ b: 'ü"\\\n', a: [1, null, true] }).toString()).toBe(
      '{"a":[1,null,true],"b":"ü\\"\\\\\n"}',
    )
  })
}
