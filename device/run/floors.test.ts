/** Floors of version and time: they outlive a restart, and fall only with the keys that signed them. */
import pino from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { VendorId } from '../../web/core/bytes.ts'
import { liveCell } from '../../web/core/live.ts'
import { publicKey, signEvent, type NostrEvent } from '../../web/core/nostr/event.ts'
import { releaseEvent } from '../../web/core/release/announce.ts'
import { withDelegate } from '../../web/core/release/delegate.ts'
import { buildSnapshot, buildTargets, buildTimestamp } from '../../web/core/release/repository.ts'
import {
  signWith,
  testEntry,
  testKey,
  testKeys,
  testRepository,
  testVendor,
} from '../../web/core/release/test-repository.ts'
import type { Delegations } from '../../web/core/release/tuf.ts'
import { newRecord, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { memoryStore, type TextStore } from '../../web/edge/release/store.ts'
import { parseConfig } from '../config/config.ts'
import { deviceToml } from '../config/template.ts'
import { createLooker } from './looker.ts'
import { BUILT_AT_S, type Ports } from './ports.ts'

const NOW = (BUILT_AT_S + 1000) * 1000
const DAY_MS = 86_400_000
const [A, B] = [new Uint8Array(32).fill(7), new Uint8Array(32).fill(8)]

class Place {
  nowMs = NOW
  readonly repository = testRepository(NOW)
  readonly store: TextStore = memoryStore()
  readonly record = liveCell<DeviceRecord>(newRecord(this.repository.vendor))
  readonly refused: string[] = []
  /** Looks at the mirror. */
  looks = 0
  #hear: (event: NostrEvent) => void = () => undefined

  /** Targets, and lists of them, of any version, naming `nostr` as the vendor's Nostr key. */
  publish(
    version: number,
    nostr: Uint8Array<ArrayBuffer>,
    releasedAt = NOW / 1000 - 5,
    targetsKey = testKeys.targets,
    delegations?: Delegations,
  ): void {
    const { files } = this.repository
    const targets = signWith(
      buildTargets({
        version,
        nowMs: NOW,
        targets: [testEntry('1.0', { releasedAt })],
        vendor: { ...testVendor, nostr: publicKey(nostr) },
        ...(delegations && { delegations }),
      }),
      targetsKey,
    )
    const snapshot = signWith(
      buildSnapshot({ version, nowMs: NOW, targetsVersion: version, targets }),
      testKeys.snapshot,
    )
    files[`${version}.targets.json`] = targets
    files[`${version}.snapshot.json`] = snapshot
    files['timestamp.json'] = signWith(
      buildTimestamp({ version, nowMs: NOW, snapshotVersion: version, snapshot }),
      testKeys.timestamp,
    )
  }

  announce(targetsVersion: number, secret: Uint8Array<ArrayBuffer>): void {
    const release = { product: 'pump', version: '9.9', sha256: 'ab'.repeat(32) as VendorId }
    const { vendor } = this.repository
    const template = releaseEvent({ vendor, release, status: 'live', targetsVersion, createdAtS: NOW / 1000 })
    this.#hear(signEvent(template, secret, new Uint8Array(32)))
  }

  /** A device's looker; the function ends it, as a restart would. */
  boot = 'boot'
  start(): { looker: ReturnType<typeof createLooker>; stop: () => Promise<void> } {
    const end = new AbortController()
    const config = parseConfig(
      deviceToml({
        name: 'd',
        hardware: 'other',
        dataDir: 'data',
        vendor: this.repository.vendor,
        relays: ['http://relay.test'],
        trackers: [],
        deviceSecret: '11'.repeat(32),
        walletClientSecret: '22'.repeat(32),
        walletConnection: '',
        products: [],
        healthCommand: '',
        priceCapMsat: undefined,
      }),
      '/tmp/device.toml',
    )
    const fetcher: typeof fetch = (input) => {
      const file = new URL(input as string).pathname.split('/').at(-1) ?? ''
      if (file === 'timestamp.json') this.looks++
      const bytes = this.repository.files[file]
      return Promise.resolve(new Response(bytes ?? null, { status: bytes ? 200 : 404 }))
    }
    const looker = createLooker({
      config,
      ports: {
        fetch: fetcher,
        nowMs: () => this.nowMs,
        bootId: () => this.boot,
        random: () => 0.5,
        retryMs: 5,
      } as unknown as Ports,
      pool: {
        status: liveCell([{ url: 'ws://relay.test', connected: true }]),
        publish: () => Promise.resolve(),
        subscribe: (_filters, onEvent) => {
          this.#hear = onEvent
          return () => undefined
        },
        close: () => undefined,
      },
      store: this.store,
      keeper: {
        get: this.record.get,
        subscribe: this.record.subscribe,
        update: (change) => Promise.resolve(this.record.set(change(this.record.get()))),
      },
      refused: { note: (attack) => void this.refused.push(attack) },
      log: pino({ level: 'silent' }),
      signal: end.signal,
    })
    const running = looker.run()
    const stop = async (): Promise<void> => {
      end.abort()
      await running
    }
    onTestFinished(stop)
    return { looker, stop }
  }
}

const targetsOf = (looker: ReturnType<typeof createLooker>) => looker.verified.get()?.targetsVersion

test('what the vendor announced is a floor after a restart too, though nobody says it again', async () => {
  const place = new Place()
  place.publish(1, A)
  const first = place.start()
  await expect.poll(() => targetsOf(first.looker)).toBe(1)
  place.announce(5, A)
  await expect.poll(() => place.refused).toContain('freeze')
  await first.stop()
  place.refused.length = 0
  place.start()
  await expect.poll(() => place.refused).toContain('freeze')
})

test('a floor of a stolen Nostr key falls when signed targets name another key; older targets stay refused', async () => {
  const place = new Place()
  place.publish(3, A)
  const { looker } = place.start()
  await expect.poll(() => targetsOf(looker)).toBe(3)
  place.announce(1_000_000_000, A)
  await expect.poll(() => place.refused).toContain('freeze')
  place.publish(2, B)
  looker.look()
  await expect.poll(() => place.refused).toContain('rollback')
  expect(targetsOf(looker)).toBe(3)
  place.publish(4, B)
  looker.look()
  await expect.poll(() => targetsOf(looker)).toBe(4)
  // And words of the old key count no more, in either direction.
  place.announce(2_000_000, A)
  place.publish(5, B)
  looker.look()
  await expect.poll(() => targetsOf(looker)).toBe(5)
})

test('a clock that was set back brings nothing expired back', async () => {
  const place = new Place()
  place.publish(1, A)
  const first = place.start()
  await expect.poll(() => place.record.get().floorS).toBe(NOW / 1000 - 5)
  await first.stop()
  // The relay's timestamp ended a hundred days before the floor; the clock stands before both.
  place.nowMs = NOW - 200 * DAY_MS
  const snapshot = place.repository.files['1.snapshot.json']!
  place.repository.files['timestamp.json'] = signWith(
    buildTimestamp({ version: 2, nowMs: NOW - 101 * DAY_MS, snapshotVersion: 1, snapshot }),
    testKeys.timestamp,
  )
  const second = place.start()
  await expect.poll(() => place.refused).toContain('freeze')
  expect(place.refused).toContain('clock-set-back')
  await second.stop()
  // The same on a board that has just started and has no time yet: it waits, and nobody is accused.
  place.refused.length = 0
  place.boot = 'another boot'
  place.start()
  await expect.poll(() => place.refused).toContain('freeze')
  expect(place.refused).not.toContain('clock-set-back')
  expect(place.record.get().notice).toMatch(/no plausible time/)
})

test('a far future signed by a thief holds a device only until the root names other targets keys', async () => {
  const place = new Place()
  place.publish(1, A, NOW / 1000 + 3650 * 86_400)
  const { looker } = place.start()
  await expect.poll(() => place.record.get().floorS).toBe(NOW / 1000 + 3650 * 86_400)
  looker.look()
  await expect.poll(() => place.refused).toContain('clock-set-back')
  const fresh = testKey('fresh targets')
  const { files, publics, rootOf } = place.repository
  files['2.root.json'] = signWith(rootOf(2, { ...publics, targets: [fresh.public] }), testKeys.root)
  place.publish(2, A, NOW / 1000 - 5, fresh)
  looker.look()
  await expect.poll(() => targetsOf(looker)).toBe(2)
  expect(place.record.get().floorS).toBe(NOW / 1000 - 5)
})

test('what a delegate announces right after another word of its own is looked at too', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const place = new Place()
  const key = testKey('delegate').public
  const delegate = { product: 'pump', name: 'Pumps', key, nostr: publicKey(B) }
  place.publish(1, A, undefined, undefined, withDelegate(undefined, delegate))
  const { looker, stop } = place.start()
  await vi.advanceTimersByTimeAsync(500)
  expect(targetsOf(looker)).toBe(1)
  const before = place.looks
  place.announce(1, B)
  await vi.advanceTimersByTimeAsync(500)
  expect(place.looks).toBe(before + 1)
  for (let i = 0; i < 5; i++) place.announce(1, B)
  await vi.advanceTimersByTimeAsync(500)
  expect(place.looks).toBe(before + 1)
  await vi.advanceTimersByTimeAsync(10_000)
  expect(place.looks).toBe(before + 2)
  expect(place.refused).toEqual([])
  await stop()
})
