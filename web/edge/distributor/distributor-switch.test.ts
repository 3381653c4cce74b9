import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { fill, until, world } from './test-distributor.ts'

beforeEach(() => void vi.useFakeTimers({ now: new Date('2026-11-20T12:00:00Z') }))
afterEach(() => void vi.useRealTimers())

describe('a distributor that is switched', () => {
  test('off and on again at once, it goes on in a swarm that is open', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, () => fakes.sessions.length === 1)
    const stopping = at.stop()
    await at.start()
    await stopping
    await until(at, (now) => now.mode.tag === 'on' && fakes.sessions.at(-1)!.joined)
    expect(fakes.swarms.at(-1)).toEqual({ closed: false })
    await at.stop()
    expect(fakes.swarms.at(-1)).toEqual({ closed: true })
  })

  test('off, what is let go of is deleted from the disk too', async () => {
    const { acme, other, disk, fakes, make } = world()
    const release = acme.release('os', '1')
    acme.sign([release])
    const at = make()
    await at.start()
    await until(at, () => fakes.sessions.length === 1)
    await fill(fakes.sessions[0]!.store, 3)
    await at.stop()
    await at.updateSettings({ vendors: [other.vendor] })
    const shown = await until(at, (now) => now.carrying.length === 0)
    expect(shown.evicted).toMatchObject([{ name: 'os 1', reason: 'unfollowed' }])
    expect(disk.open.at(-1)).toMatchObject({ state: 'destroyed', meta: { infoHash: release.infoHash } })
  })

  test('on while what is on disk is still read, it takes up nothing twice', async () => {
    const { acme, fakes, journal, make } = world()
    acme.sign([acme.release('os', '1')])
    const first = make()
    await first.start()
    await until(first, () => fakes.sessions.length === 1)
    await first.stop()
    const read = Promise.withResolvers<void>()
    const { keys } = journal
    journal.keys = async (prefix) => {
      if (prefix === 'distributor/carry/') await read.promise
      return keys(prefix)
    }
    const second = make()
    const started = second.start()
    const changed = second.updateSettings({ vendors: 'all' })
    await vi.advanceTimersByTimeAsync(1_000)
    read.resolve()
    await Promise.all([started, changed])
    const shown = await until(second, (now) => now.carrying[0]?.state.tag === 'looking')
    expect(shown.carrying).toHaveLength(1)
    expect(fakes.sessions.filter((session) => session.joined)).toHaveLength(1)
    await second.stop()
  })

  test('shows what happens also after the clock was set back', async () => {
    const { acme, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, (now) => now.carrying.length === 1)
    vi.setSystemTime(Date.now() - 3_600_000)
    await at.updateSettings({ diskLimitBytes: 1 })
    await until(at, (now) => now.carrying.length === 0)
    await at.stop()
  })

  test('without its wallet it shows no sale as under way', async () => {
    const { acme, fakes, make } = world()
    acme.sign([acme.release('os', '1')])
    const at = make()
    await at.start()
    await until(at, () => fakes.shops.length === 1)
    fakes.shops[0]!.sell({ id: 'w1', state: 'sending' })
    await until(at, (now) => now.buyers === 1)
    at.setWallet(undefined)
    await until(at, (now) => now.buyers === 0 && now.uploads.length === 0)
    expect(fakes.shops[0]!.running).toBe(false)
    await at.stop()
  })
})
