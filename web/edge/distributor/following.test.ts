import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { VendorId } from '../../core/bytes.ts'
import { fakeConfig, fakeVendor, RELAY, type FakeVendor } from './fake-parts.ts'
import { followVendors } from './following.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const MONEY = 'sandbox:relay'

function following() {
  const [acme, other] = [fakeVendor(7, 'Acme'), fakeVendor(8, 'Other')]
  const relay = { admitted: [] as FakeVendor[], away: false, asked: 0 }
  const at = followVendors({
    relayUrl: RELAY,
    config: fakeConfig(MONEY, []),
    fetch: (async () => {
      relay.asked++
      if (relay.away) throw new TypeError('no route')
      return new Response(JSON.stringify(fakeConfig(MONEY, relay.admitted)))
    }) as typeof fetch,
    read: (vendor: VendorId) => Promise.resolve([acme, other].find((one) => one.vendor === vendor)!.metadata),
    follows: () => true,
    carried: () => [],
    running: () => true,
    onChange: () => undefined,
    nowMs: () => Date.now(),
    log: () => undefined,
  })
  return { acme, other, relay, at }
}

test('two vendors that are announced right after each other are both followed', async () => {
  const { acme, other, relay, at } = following()
  relay.admitted = [acme]
  at.hear(acme.announce(acme.release('os', '1')))
  await vi.advanceTimersByTimeAsync(1_000)
  relay.admitted = [acme, other]
  for (let i = 0; i < 10; i++) at.hear(other.announce(other.release('fw', '1')))
  await vi.advanceTimersByTimeAsync(10_000)
  expect([...at.watches.keys()]).toEqual([acme.vendor, other.vendor])
  expect(relay.asked).toBe(2)
  at.stop()
})

test('a vendor that is announced while the relay does not answer is followed when it does', async () => {
  const { acme, relay, at } = following()
  relay.admitted = [acme]
  relay.away = true
  at.hear(acme.announce(acme.release('os', '1')))
  await vi.advanceTimersByTimeAsync(30_000)
  expect(at.watches.size).toBe(0)
  relay.away = false
  await vi.advanceTimersByTimeAsync(10_000)
  expect([...at.watches.keys()]).toEqual([acme.vendor])
  at.stop()
})
