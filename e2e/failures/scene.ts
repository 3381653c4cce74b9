/** What the failure journeys share: a release that is out and not begun, processes that die, and eyes on a device's disk. */
import fs from 'node:fs'
import path from 'node:path'
import { expect } from 'vitest'
import * as v from 'valibot'
import type { Release } from '../../web/core/release/target.ts'
import { deviceStates } from '../../web/core/rollout/messages.ts'
import type { Seed } from '../../web/edge/vendor/api.ts'
import type { Books } from '../demo/outcome.ts'
import type { DeviceHandle, DistributorHandle } from '../support/house.ts'
import type { Program } from '../support/processes.ts'
import { run, root, type Ended } from '../support/run.ts'
import { openWorld, type World, type WorldOptions } from '../support/world.ts'

const COMMAND_TIMEOUT_MS = 30_000
const COPIES_TIMEOUT_MS = 60_000
const SEEN_TIMEOUT_MS = 60_000

export type Scene = Readonly<{ world: World; release: Release; seed: Seed; books: Books }>

/**
 * A world with a release of `bytes` random bytes that every distributor has a full copy of, and that no device has
 * heard of: they are stopped. The vendor's seed still runs.
 */
export async function shipped(
  options: WorldOptions & { bytes: number; confidential?: boolean },
): Promise<Scene> {
  const world = await openWorld(options)
  await Promise.all(world.devices.flatMap((device) => device.program?.stop() ?? []))
  const { bytes, confidential = false } = options
  const out = await world.ship(world.file('image.bin', bytes), undefined, { confidential })
  await reached(out.seed, world.distributors.length)
  return { world, ...out }
}

/** Until `copies` others have all of the file. */
export function reached(seed: Seed, copies: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${seed.fullCopies.get()} of ${copies} distributors have a full copy.`)),
      COPIES_TIMEOUT_MS,
    )
    seed.fullCopies.subscribe((now) => {
      if (now < copies) return
      clearTimeout(timer)
      resolve()
    })
  })
}

export function start(device: DeviceHandle): Program {
  return (device.program = device.start())
}
export function back(distributor: DistributorHandle): Program {
  return (distributor.program = distributor.start())
}

/** `kill -9`, at once. */
export async function kill(program: Program | undefined): Promise<void> {
  program?.kill('SIGKILL')
  await program?.exited
}

/** Looks now and at every change in `directory`, which may not be there yet, until `look` gives something. */
export async function seen<T>(what: string, directory: string, look: () => T | undefined): Promise<T> {
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
  return new Promise((resolve, reject) => {
    const end = (act: () => void): void => {
      clearTimeout(timer)
      watcher.close()
      act()
    }
    const again = (): void => {
      let found: T | undefined
      try {
        found = look()
      } catch (error) {
        return end(() => reject(error instanceof Error ? error : new Error(String(error))))
      }
      if (found !== undefined) end(() => resolve(found))
    }
    const timer = setTimeout(
      () =>
        end(() => reject(new Error(`${SEEN_TIMEOUT_MS / 1000} s have passed while waiting for ${what}.`))),
      SEEN_TIMEOUT_MS,
    )
    const watcher = fs.watch(directory, again)
    again()
  })
}

export const journalOf = (device: DeviceHandle): string => path.join(device.dataDir, 'journal')

/** Quote ids of the records of one kind: purchases under way are `buy`, what is paid and unlocked `receipt`. */
export function records(device: DeviceHandle, kind: 'buy' | 'receipt'): string[] {
  return fs
    .readdirSync(journalOf(device))
    .filter((name) => name.startsWith(`${kind}_`) && name.endsWith('.rec'))
    .map((name) => name.slice(name.lastIndexOf('_') + 1, -'.rec'.length))
}

/** Until the device holds that many receipts. */
export const receipts = (device: DeviceHandle, count: number): Promise<true> =>
  seen(`${count} receipts of ${device.name}`, journalOf(device), () =>
    records(device, 'receipt').length >= count ? true : undefined,
  )

const phaseSchema = v.object({
  jobs: v.array(
    v.object({ phase: v.object({ tag: v.string(), step: v.optional(v.object({ tag: v.string() })) }) }),
  ),
})

/** Where the device's last release stands on disk, such as `buying` or `installing checking`. */
export function phase(device: DeviceHandle): string | undefined {
  const file = path.join(device.dataDir, 'state.json')
  if (!fs.existsSync(file)) return undefined
  const last = v.parse(phaseSchema, JSON.parse(fs.readFileSync(file, 'utf8'))).jobs.at(-1)?.phase
  return last && (last.step ? `${last.tag} ${last.step.tag}` : last.tag)
}

export const inPhase = (device: DeviceHandle, wanted: string): Promise<true> =>
  seen(`${device.name} to be ${wanted}`, device.dataDir, () => (phase(device) === wanted ? true : undefined))

/** `satpatch ARGS…`, to its end. */
export const satpatch = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> =>
  run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', path.join(root, 'device/main.ts'), ...args],
    { timeoutMs: COMMAND_TIMEOUT_MS, env: { ...process.env, ...env } },
  )

const statusSchema = v.object({
  state: v.picklist(deviceStates),
  reason: v.optional(v.string(), ''),
  paidMsat: v.number(),
  receipts: v.number(),
})

/** `satpatch device status --json`, and its exit code. */
export async function statusOf(
  device: DeviceHandle,
): Promise<v.InferOutput<typeof statusSchema> & { code: number }> {
  const { output, code } = await satpatch(['device', 'status', '--json', '--config', device.configFile])
  return { ...v.parse(statusSchema, JSON.parse(output)), code }
}

/** Every device healthy with the very bytes; ledgers, receipts and disks agree; no piece bought twice. */
export async function endsWell({ world, release, books }: Scene): Promise<void> {
  await world.allHealthy(release)
  const verdict = await books.balanced(release)
  expect(verdict.problems).toEqual([])
  expect(verdict.devices).toHaveLength(world.devices.length)
  expect(verdict.devices.reduce((sum, { paidMsat }) => sum + paidMsat, 0)).toBeGreaterThan(0)
}
