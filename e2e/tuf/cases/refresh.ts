/** A refresh that nothing stands against. */
import { describe, expect, test } from 'vitest'
import { newSigner } from '../repository.ts'
import { everything, firstRefresh, type Cases } from './shared.ts'

export function refreshCases({ start, repo }: Cases): void {
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
}
