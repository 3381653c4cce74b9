/** A device under test in a directory of its own, with the world that it sees. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import type { Sha256Hex } from '../../web/core/bytes.ts'
import type { Live } from '../../web/core/live.ts'
import { testVendor } from '../../web/core/release/test-repository.ts'
import { parseConfig, type DeviceConfig } from '../config/config.ts'
import { deviceToml } from '../config/template.ts'
import { World } from './fake-world.ts'
import type { Ports } from './ports.ts'
import { runDevice, type RunningDevice } from './run-device.ts'
import { sha } from './test-artifact.ts'

export const RELAY = 'http://relay.test'

export interface TestDevice {
  readonly dir: string
  readonly world: World
  /** All that were started. */
  readonly devices: readonly RunningDevice[]
  configOf(edit?: (toml: string) => string): Promise<DeviceConfig>
  start(config: DeviceConfig, ports?: Partial<Ports>): Promise<RunningDevice>
  /** Of the file that is installed. */
  installed(): Promise<Sha256Hex>
  close(): Promise<void>
}

export async function openTestDevice(): Promise<TestDevice> {
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-run-'))
  const world = new World()
  // The test repository signs one vendor block; ours must be the key that the test holds.
  Object.assign(testVendor, { nostr: world.vendorBlock.nostr })
  const devices: RunningDevice[] = []

  async function configOf(edit: (toml: string) => string = (toml) => toml): Promise<DeviceConfig> {
    const file = join(dir, 'device.toml')
    const toml = edit(
      deviceToml({
        name: 'pump-7',
        hardware: 'pi4',
        dataDir: 'data',
        vendor: world.repository.vendor,
        relays: [RELAY],
        trackers: [],
        deviceSecret: '01'.repeat(32),
        walletClientSecret: '02'.repeat(32),
        walletConnection: `nostr+walletconnect://${'ab'.repeat(32)}?relay=ws%3A%2F%2Frelay.test&secret=${'cd'.repeat(32)}`,
        products: [],
        healthCommand: '',
        priceCapMsat: undefined,
      }),
    )
    await writeFile(file, toml)
    return parseConfig(toml, file)
  }

  async function start(config: DeviceConfig, ports: Partial<Ports> = {}): Promise<RunningDevice> {
    const device = await runDevice({
      config,
      log: pino({ level: process.env['TEST_LOG'] ?? 'silent' }),
      ports: world.ports(ports),
    })
    devices.push(device)
    return device
  }

  return {
    dir,
    world,
    devices,
    configOf,
    start,
    installed: () => readFile(join(dir, 'data', 'products', 'pump', 'current', 'pump ü.bin')).then(sha),
    async close() {
      for (const device of devices) await device.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Waits for a value that satisfies `good`; the test's own time limit ends a wait in vain. */
export function seen<T>(live: Live<T>, good: (value: T) => boolean): Promise<T> {
  return new Promise((resolve) => {
    let done = false
    const stop: { now?: () => void } = {}
    stop.now = live.subscribe((value) => {
      if (done || !good(value)) return
      done = true
      queueMicrotask(() => stop.now?.())
      resolve(value)
    })
  })
}
export const state = (device: RunningDevice, wanted: string) => seen(device, (now) => now.state === wanted)
export const allTold = (device: RunningDevice) =>
  seen(
    device.record,
    ({ jobs }) =>
      jobs.length > 0 &&
      jobs.every(({ phase }) => phase.tag === 'done' && phase.told.report && phase.told.attestation),
  )
