/** Arbitrary software: what is signed wrongly, too little, or by others. */
import { describe, expect, test } from 'vitest'
import { newSigner, Repository } from '../repository.ts'
import { wrongSignature, type Cases } from './shared.ts'

export function softwareCases({ start, repo }: Cases): void {
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
}
