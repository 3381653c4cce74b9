/** Delegated roles that are spoilt, oddly named, in bins, or no TUF. */
import { describe, expect, test } from 'vitest'
import { DAY, isoDate, newSigner, Repository } from '../repository.ts'
import { now, type Cases } from './shared.ts'

export function oddDelegationCases({ start, repo, long }: Cases): void {
  describe('delegations that are odd:', () => {
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
}
