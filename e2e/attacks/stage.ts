/**
 * Where attacks are played: a real relay process, a vendor, a hostile front, and one real device process that reaches
 * everything through that front. A row of SECURITY.md's table ends with the same questions: is the same version
 * installed, are the same sats there, did the device name the attack, and does the vendor know?
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import * as v from 'valibot'
import { LOG_EVERY_MS } from '../../device/run/refused.ts'
import { msat, type Msat } from '../../web/core/money/msat.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import type { Release, VendorBlock } from '../../web/core/release/target.ts'
import { parseEnvelope } from '../../web/core/release/tuf.ts'
import type { Refused } from '../../web/core/rollout/messages.ts'
import { metadataUrl } from '../../web/edge/release/mirror.ts'
import { generateSecrets } from '../../web/edge/vendor/keys-file.ts'
import { entryOf } from '../../web/edge/vendor/signing.ts'
import { installedFile, openHouse, type DeviceHandle, type House } from '../support/house.ts'
import { until } from '../support/processes.ts'
import { openVendor, random, type VendorHost } from '../support/vendor-host.ts'
import { HARDWARE, keepFailed, PRICE } from '../support/world.ts'
import type { TargetEntry } from '../../web/core/release/repository.ts'
import { realKeys, type Keys, type Versions } from './forge.ts'
import { openFront, type Answer, type Front } from './front.ts'

const TIMEOUT_MS = 45_000
const FUNDS = msat(1_000_000)

/** What an attack must not change. */
export type Standing = Readonly<{
  installed: unknown
  /** Of the file that runs. */
  bytes: string
  jobs: readonly string[]
  balance: Msat
}>

const recordSchema = v.object({
  installed: v.unknown(),
  jobs: v.array(v.object({ release: v.object({ path: v.string() }) })),
})

export interface Stage {
  readonly dir: string
  readonly house: House
  readonly host: VendorHost
  readonly front: Front
  readonly device: DeviceHandle
  readonly keys: Keys
  /** The releases' entries and the vendor block as signed now, and the versions that the relay shows. */
  state(): Promise<{ versions: Versions; entries: TargetEntry[]; vendor: VendorBlock }>
  /** A metadata file as the relay shows it. */
  file(name: string): Promise<Uint8Array<ArrayBuffer>>
  /** Publishes random bytes as firmware `version`. */
  ship(version: string, bytes?: number, options?: Readonly<{ confidential?: boolean }>): Promise<Release>
  healthy(release: Release): Promise<void>
  /** The device looks at its mirrors. */
  look(): void
  standing(): Promise<Standing>
  /** A line of the device's log, of now or later, that has the attack's name. */
  named(attack: string, since: number): Promise<string>
  /** Until the log says so, now or later. */
  says(words: RegExp, since: number): Promise<string>
  logLength(): number
  /** Until the log has room for an attack: a flood uses up its lines, and one comes back after a while. */
  logHasRoom(): Promise<unknown>
  /** Until the device trusts this very metadata file. */
  seenByDevice(name: string, bytes: Uint8Array): Promise<unknown>
  refused(): readonly Refused[]
  /**
   * Plays `answers`, and by default has the device look; the attack is named in the log, told to the vendor, and changes
   * nothing.
   */
  refuses(
    attack: string,
    answers: Readonly<Record<string, Answer>>,
    trigger?: () => unknown,
  ): Promise<Refused>
  /** The same for one of several kinds of one attack: the vendor hears of them together, a second apart at most. */
  names(attack: string, answers: Readonly<Record<string, Answer>>): Promise<void>
  close(): Promise<void>
}

export type StageOptions = Readonly<{
  /** Changes to the device's settings. */
  edit?: (toml: string) => string
}>

export async function openStage(options: StageOptions = {}): Promise<Stage> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'satpatch-attack-'))
  const closing: (() => unknown)[] = [() => fs.rmSync(dir, { recursive: true, force: true })]
  const house = await openHouse({ dir, port: 0, grantSats: 1_000_000, accounts: 20 })
  closing.push(() => house.stop())
  const front = await openFront(house.relay.url)
  closing.push(() => front.close())
  const secrets = generateSecrets(random)
  const host = await openVendor({
    relayUrl: house.relay.url,
    admission: house.relay.admission ?? '',
    name: 'Test vendor',
    secrets,
    dataDir: path.join(dir, 'vendor'),
    price: PRICE,
    gifts: 0,
    log: () => undefined,
  })
  closing.push(() => host.close())
  const device = await house.device('device-1', {
    vendor: host.vendor,
    vendorWallet: host.wallet,
    hardware: HARDWARE,
    fundMsat: FUNDS,
    edit: (toml) =>
      (options.edit ?? ((text) => text))(toml.replace(`"${house.relay.url}"`, `"${front.url}"`)),
  })
  expect(fs.readFileSync(device.configFile, 'utf8')).toContain(front.url)
  const status = host.vendor.status.get()
  if (status.tag !== 'ready') throw new Error('The vendor was not admitted.')
  const { vendor } = status

  const fleetRow = () => host.vendor.fleet.get().devices.find(({ key }) => key === device.key)
  const logText = (): string =>
    device.program === undefined ? '' : fs.readFileSync(device.program.logFile, 'utf8')

  const stage: Stage = {
    dir,
    house,
    host,
    front,
    device,
    keys: realKeys(secrets, house.relay.dataDir),
    async file(name) {
      const response = await fetch(metadataUrl(front.url, vendor, name))
      if (!response.ok) throw new Error(`The relay has no ${name}.`)
      return new Uint8Array(await response.arrayBuffer())
    },
    async state() {
      const read = async <R extends 'timestamp' | 'snapshot' | 'targets'>(role: R, name: string) => {
        const parsed = parseEnvelope(role, await stage.file(name))
        if (parsed.tag !== 'ok') throw new Error(parsed.refusal.text)
        return parsed.value.signed
      }
      const timestamp = await read('timestamp', 'timestamp.json')
      const snapshotVersion = timestamp.meta['snapshot.json'].version
      const snapshot = await read('snapshot', `${snapshotVersion}.snapshot.json`)
      const targetsVersion = snapshot.meta['targets.json']?.version ?? 0
      const { releases, vendor: block } = readTargets(await read('targets', `${targetsVersion}.targets.json`))
      if (block === undefined) throw new Error('The targets have no vendor block.')
      return {
        versions: { targets: targetsVersion, snapshot: snapshotVersion, timestamp: timestamp.version },
        entries: releases.map(entryOf),
        vendor: block,
      }
    },
    async ship(version, bytes = 60_000, options = {}) {
      const file = path.join(dir, `image-${version}.bin`)
      fs.writeFileSync(file, randomBytes(bytes))
      const form = { product: 'firmware', version, hardware: [HARDWARE], priceCapMsat: PRICE }
      return (await host.ship(file, form, options)).release
    },
    async healthy(release) {
      await until(
        `firmware ${release.version} to run`,
        TIMEOUT_MS,
        () => fleetRow()?.releases.find((one) => one.path === release.path && one.report)?.report?.outcome,
        () => device.program?.tail() ?? '',
      )
    },
    look: () => device.program?.kill('SIGHUP'),
    async standing() {
      const record = v.parse(
        recordSchema,
        JSON.parse(fs.readFileSync(path.join(device.dataDir, 'state.json'), 'utf8')),
      )
      const current = installedFile(device, 'firmware', '')
      const [name = ''] = fs.existsSync(current) ? fs.readdirSync(current) : []
      return {
        installed: record.installed,
        bytes: name === '' ? '' : fs.readFileSync(path.join(current, name)).toString('base64'),
        jobs: record.jobs.map(({ release }) => release.path),
        balance: await device.wallet.balance(),
      }
    },
    logLength: () => logText().length,
    logHasRoom: () =>
      until('the log to have room', TIMEOUT_MS, () => {
        const last = logText()
          .split('\n')
          .findLast((line) => line.includes('"part":"refused"'))
        const { time } = JSON.parse(last ?? '{"time":0}') as { time: string | number }
        return Date.now() - new Date(time).getTime() > LOG_EVERY_MS ? true : undefined
      }),
    says: (words, since) =>
      until(
        `the log to say ${words.source}`,
        TIMEOUT_MS,
        () =>
          logText()
            .slice(since)
            .split('\n')
            .find((line) => words.test(line)),
        () => device.program?.tail() ?? '',
        20,
      ),
    named: (attack, since) => stage.says(new RegExp(`"attack":"${attack}"`), since),
    seenByDevice: (name, bytes) =>
      until(
        `the device to take ${name}`,
        TIMEOUT_MS,
        () =>
          Buffer.from(bytes).equals(fs.readFileSync(path.join(device.dataDir, 'metadata', name)))
            ? true
            : undefined,
        () => device.program?.tail() ?? '',
        20,
      ),
    refused: () => fleetRow()?.refused ?? [],
    async names(attack, answers) {
      const before = await stage.standing()
      const since = stage.logLength()
      front.serve(answers)
      stage.look()
      await stage.named(attack, since)
      front.clear()
      expect(await stage.standing()).toEqual(before)
    },
    async refuses(attack, answers, trigger = stage.look) {
      const before = await stage.standing()
      const since = stage.logLength()
      const known = new Map(stage.refused().map((row) => [`${row.attack} ${row.from}`, row.count]))
      front.serve(answers)
      await trigger()
      await stage.named(attack, since)
      const row = await until(
        `the vendor to hear of ${attack}`,
        TIMEOUT_MS,
        () =>
          stage
            .refused()
            .find((one) => one.attack === attack && one.count > (known.get(`${attack} ${one.from}`) ?? 0)),
        () => JSON.stringify(stage.refused()),
        20,
      )
      front.clear()
      expect(await stage.standing()).toEqual(before)
      return row
    },
    async close() {
      for (const end of closing.toReversed()) await end()
    },
  }
  return stage
}

/** One stage for all tests of a file, with firmware 1.0.0 running. */
export function stageOfFile(options: StageOptions = {}): () => Stage & { readonly first: Release } {
  let stage: Stage & { readonly first: Release }
  beforeAll(async () => {
    const opened = await openStage(options)
    const first = await opened.ship('1.0.0')
    opened.device.program = opened.device.start()
    stage = Object.assign(opened, { first })
    await stage.healthy(first)
  })
  afterEach(({ task }) => {
    if (task.result?.state !== 'fail') return
    const kept = keepFailed(stage.dir, 'logs')
    fs.cpSync(path.join(stage.dir, 'logs'), kept, { recursive: true })
    console.error(`All logs: ${kept}`)
  })
  afterAll(() => stage.close())
  return () => stage
}
