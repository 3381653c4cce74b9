import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { NOW, PIECE } from './test-artifact.ts'
import { allTold, openTestDevice, seen, state, type TestDevice } from './test-device.ts'

let at: TestDevice
beforeEach(async () => {
  at = await openTestDevice()
})
afterEach(() => at.close())

describe('a device that waits', () => {
  test('without sats it waits, says how many, shows an invoice, and goes on by itself', async () => {
    at.world.release('1.0')
    at.world.selling = 2
    at.world.waiting = { tag: 'waiting', why: 'funds', needMsat: 2500 as Msat }
    const device = await at.start(await at.configOf())
    await seen(at.world.changed, () =>
      at.world.progress().some(({ fundInvoice }) => fundInvoice !== undefined),
    )
    const told = at.world.progress().findLast(({ fundInvoice }) => fundInvoice !== undefined)!
    expect(told).toMatchObject({ state: 'queued', needMsat: 3000 })
    expect(told.reason).toContain('needs 3 play sats more')
    expect(told.release?.receipts).toBe(2)
    expect(await at.world.payer.pay(told.fundInvoice!)).toMatchObject({ tag: 'paid' })
    at.world.selling = Number.POSITIVE_INFINITY
    await allTold(device)
    expect(at.world.bought).toHaveLength(5)
  })

  test('reasons to wait are told, and it goes on when they are gone', async () => {
    at.world.release('1.0')
    at.world.free = 1000
    const device = await at.start(await at.configOf())
    await seen(device, ({ reason }) => reason?.includes('Free some space') === true)
    expect(at.world.bought).toEqual([])
    at.world.free = 1e12
    await state(device, 'healthy')
  })

  test('with a clock before the program was built nothing is bought', async () => {
    at.world.release('1.0')
    at.world.nowMs = 1000
    const device = await at.start(await at.configOf())
    await seen(device, ({ reason }) => reason?.includes('no plausible time') === true)
    expect(at.world.bought).toEqual([])
    at.world.nowMs = NOW
    await state(device, 'healthy')
  })

  test('the byte budget of a day holds it, the next day lets it go on', async () => {
    at.world.release('1.0')
    at.world.selling = 2
    const device = await at.start(
      await at.configOf((toml) => toml.replace('bytes_per_day = 0', `bytes_per_day = ${PIECE * 2}`)),
    )
    await seen(device, ({ reason }) => reason?.includes('byte budget') === true)
    expect(at.world.bought).toHaveLength(2)
    at.world.selling = Number.POSITIVE_INFINITY
    at.world.nowMs += 86_400_000
    at.world.repository.publish([], at.world.nowMs)
    await seen(device, ({ download }) => (download?.have ?? 0) > 2)
    expect(new Set(at.world.bought).size).toBe(at.world.bought.length)
  })

  test('its last word reaches the vendor when the relay is back, though nothing has changed since', async () => {
    at.world.repository.publish([])
    const device = await at.start(await at.configOf())
    await seen(device, ({ reason }) => reason === 'the vendor has no release out')
    const { poolStatus } = at.world
    const url = 'ws://relay.test/nostr'
    poolStatus.set([{ url, connected: false }])
    at.world.free = 0
    at.world.release('1.0')
    device.look()
    await seen(device, ({ reason }) => reason?.includes('Free some space') === true)
    const said = (events?: readonly NostrEvent[]): string =>
      at.world
        .progress(events)
        .map(({ reason }) => reason)
        .join()
    await vi.waitFor(() => expect(said(at.world.lost)).toContain('Free some space'), 10_000)
    expect(said()).not.toContain('Free some space')
    poolStatus.set([{ url, connected: true }])
    await vi.waitFor(() => expect(said()).toContain('Free some space'), 5_000)
  })

  test('a withdrawn release that has not begun stops; a missing mirror is told', async () => {
    at.world.release('1.0')
    at.world.free = 0
    const device = await at.start(await at.configOf())
    await seen(device, ({ reason }) => reason?.includes('Free some space') === true)
    at.world.repository.publish([])
    at.world.announce('1.0', 2)
    await seen(device, ({ reason }) => reason === 'the vendor withdrew this release')
    at.world.free = 1e12
    at.world.online = false
    at.world.announce('1.0', 3)
    await seen(device.record, ({ notice }) => notice?.includes('No mirror could be used') === true)
    expect(at.world.bought).toEqual([])
  })
})
