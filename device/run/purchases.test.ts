import { join } from 'node:path'
import pino from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { liveCell } from '../../web/core/live.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Job } from '../../web/core/rollout/lifecycle.ts'
import type { Cheats } from '../../web/edge/swarm/cheats.ts'
import { openJournal } from '../storage/journal.ts'
import { fakeShop } from './fake-trade.ts'
import { createPurchases } from './purchases.ts'
import { NOW } from './test-artifact.ts'
import { openTestDevice } from './test-device.ts'

const LATE_WATCH_MS = 60_000

test('a release whose payment is open is looked at on, once at a time, however often the next one is begun', async () => {
  const at = await openTestDevice()
  onTestFinished(() => at.close())
  const { world } = at
  world.release('1.0', '2.0')
  const targets = JSON.parse(new TextDecoder().decode(world.repository.files['1.targets.json']))
  const { releases } = readTargets(targets.signed)
  const [old, next] = ['1.0', '2.0'].map((version) => releases.find((one) => one.version === version)!)
  const done = { tag: 'done', startedAt: 1, verifiedAt: 1, finishedAt: NOW, outcome: 'healthy' } as const
  const told = { receipts: { tag: 'none' }, report: true, attestation: true } as const
  const jobOf = (release: Release, phase: Job['phase']): Job => ({
    ...{ release, announcedAt: 1, phase, payments: 'open' },
  })
  const was = jobOf(old!, { ...done, reason: null, told })
  const begins = jobOf(next!, { tag: 'buying', startedAt: 1 })
  const stopper = new AbortController()
  const settled = Promise.withResolvers<void>()
  const journal = await openJournal(join(at.dir, 'journal'))
  await journal.put(`buy/${old!.infoHash}/${'a'.repeat(64)}`, new Uint8Array(1)) // never settles
  const cheats = { loaded: Promise.resolve(), proven: liveCell(new Map()), meet: () => undefined }
  const purchases = createPurchases({
    config: await at.configOf((toml) => toml.replace('# resell_msat', 'resell_msat')),
    ports: world.ports({ createShop: fakeShop, lateWatchMs: LATE_WATCH_MS }),
    journal,
    swarm: world.swarm,
    cheats: cheats as unknown as Cheats,
    verified: () => undefined,
    floor: () => undefined,
    onFloor: () => undefined,
    refused: { note: () => undefined },
    onLate: () => undefined,
    onSold: () => undefined,
    log: pino({ level: 'silent' }),
    wallet: () => undefined,
    jobs: () => [was, begins],
    signal: stopper.signal,
    onSettled: () => Promise.resolve(settled.resolve()),
  })
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  purchases.tend(was)
  await settled.promise
  await new Promise(setImmediate)
  world.torrents.delete(next!.infoHash)
  const keys = vi.spyOn(journal, 'keys')
  for (let i = 0; i < 20; i++) await expect(purchases.open(begins)).rejects.toThrow('list of pieces')
  while (keys.mock.calls.length < 20) await new Promise(setImmediate)
  await Promise.all(keys.mock.results.map(({ value }) => value as unknown))
  await new Promise(setImmediate)
  expect(vi.getTimerCount()).toBe(1)
  stopper.abort()
  await purchases.close()
  expect(vi.getTimerCount()).toBe(0)
})
