/** Mix and match, endless data: what the lists say of other files. */
import { describe, expect, test } from 'vitest'
import { type Cases } from './shared.ts'

export function listCases({ start, repo }: Cases): void {
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
}
