/** Freeze and rollback: what is too old, or older than what was seen. */
import { describe, expect, test } from 'vitest'
import { DAY, isoDate, newSigner } from '../repository.ts'
import { now, everything, type Cases } from './shared.ts'

export function ageCases({ start, repo }: Cases): void {
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
}
