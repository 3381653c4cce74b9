/** Delegated roles: in which order they are asked, and which of them count. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { newSigner, Repository, type Signer } from '../repository.ts'
import { type Cases } from './shared.ts'

export function delegationCases({ start, repo }: Cases): void {
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
  })
}
