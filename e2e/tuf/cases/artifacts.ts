/** Artifacts: what is downloaded, and how it is kept. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { everything, firstRefresh, type Cases } from './shared.ts'

export function artifactCases({ start, repo }: Cases): void {
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
}
