/** Root rotation: the chain of roots. */
import { describe, expect, test } from 'vitest'
import { newSigner, type Signer } from '../repository.ts'
import { type Cases } from './shared.ts'

export function rootCases({ start, repo, long }: Cases): void {
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
}
