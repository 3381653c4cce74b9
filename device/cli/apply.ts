/** `satpatch apply DIR`: a device without network takes a release from a stick. */
import { join, resolve } from 'node:path'
import { expiryMs } from '../../web/core/release/tuf.ts'
import { releaseName, type Release } from '../../web/core/release/target.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { isActive, reasonOf, stateOf, type Job } from '../../web/core/rollout/lifecycle.ts'
import { newRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { whyText } from '../../web/core/release/choose.ts'
import { failureText, refresh, type Verified } from '../../web/edge/release/mirror.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import { liveCell } from '../../web/core/live.ts'
import { readConfig, type DeviceConfig } from '../config/config.ts'
import { DIRECTORY_URL, directoryFetch } from '../run/directory-fetch.ts'
import { choiceFor } from '../run/looker.ts'
import { BUILT_AT_S } from '../run/ports.ts'
import { readRecord } from '../run/record.ts'
import type { RunningDevice } from '../run/run-device.ts'
import { openTextStore } from '../storage/text-store.ts'
import { CliError, EXIT, stopSignal, type Command, type ExitCode } from './command.ts'

export const applyCommand: Command = {
  verb: 'apply',
  summary: 'Installs a release from DIR, a stick that "satpatch export" filled, without any network.',
  about: `
Signatures, versions and the expiry of the vendor's own metadata (root and targets) are checked as ever. Only one thing is
waived, since nobody can renew it on a stick: the expiry of timestamp and snapshot. So the stick may be older than what is
out, never older than what this device has seen. The device must not be running meanwhile; it reports when it next runs.`,
  argument: { name: 'DIR', help: 'the directory that holds "v"' },
  flags: { config: { value: 'FILE', help: 'the device’s file (default device.toml)' } },
  async run({ argument, flags, json, log, out }) {
    const config = offline(await readConfig(resolve(flags.text('config') ?? 'device.toml')))
    const record = (await readRecord(config.dataDir)) ?? newRecord(config.vendor)
    const nowMs = Date.now()
    const floorS = Math.max(BUILT_AT_S, record.floorS)
    if (nowMs / 1000 < floorS)
      throw new CliError(
        EXIT.waiting,
        `The clock says ${new Date(nowMs).toISOString()}, before what the vendor signed. Set the clock first.`,
      )
    const fetch = directoryFetch(resolve(argument))
    const result = await refresh({
      mirrors: config.relays,
      vendor: config.vendor,
      store: openTextStore(join(config.dataDir, 'metadata')),
      nowMs,
      fetch,
      offline: true,
    })
    if (result.tag !== 'ok') {
      if (result.tag === 'refused')
        log.warn({ attack: result.refusal.tag, from: argument }, `refused, ${result.refusal.tag}`)
      throw new CliError(EXIT.refused, failureText(result).replaceAll(DIRECTORY_URL, resolve(argument)))
    }
    const { verified } = result
    const waived = waivedText(verified, nowMs)
    if (waived !== undefined && !json) out(waived)
    const choice = choiceFor(record, verified, config)
    if (choice.tag === 'nothing') {
      const why = choice.refused.map(whyText).slice(0, 3).join('; ') || 'the vendor has no release out'
      if (json) out(JSON.stringify({ state: 'nothing', reason: why, waived }))
      else out(`Nothing to install: ${why}.`)
      return EXIT.ok
    }
    const { release } = choice
    const [{ runDevice }, { realPorts }] = await Promise.all([
      import('../run/run-device.ts'),
      import('../run/real-ports.ts'),
    ])
    const ports = { ...realPorts, fetch, createPool: noPool, offline: { release } }
    const device = await runDevice({ config, log, ports })
    const end = await Promise.race([ended(device, release), stopSignal()])
    await device.stop()
    return tell(end)

    function tell(job: Job | string): ExitCode {
      if (typeof job === 'string') throw new CliError(EXIT.waiting, `${releaseName(release)}: ${job}`)
      const state = stateOf(job)
      const reason = reasonOf(job)
      if (json) out(JSON.stringify({ state, reason, release: release.path, waived }))
      else out(`${releaseName(release)}: ${state}${reason === undefined ? '' : `: ${reason}`}`)
      return state === 'healthy' ? EXIT.ok : EXIT.failure
    }
  },
}

/** The stick is the one source, and it is free. */
const offline = (config: DeviceConfig): DeviceConfig => ({
  ...config,
  relays: [DIRECTORY_URL],
  mirrors: [DIRECTORY_URL],
  nostrRelays: [],
  trackers: [],
  useRelayTracker: false,
  iceServers: [],
  useRelayIceServers: false,
  walletConnection: undefined,
  priceCap: 0 as Msat,
  trade: { ...config.trade, mirror: 'always', mirrorUrl: undefined, resell: undefined },
})

/** There is nobody to talk to: what is owed to the vendor stays owed. */
const noPool = (): Pool => ({
  status: liveCell([]),
  publish: () => Promise.reject(new Error('There is no network here.')),
  subscribe: () => () => undefined,
  close: () => undefined,
})

function waivedText({ current }: Verified, nowMs: number): string | undefined {
  const stale = [current.timestamp, current.snapshot].filter(({ signed }) => expiryMs(signed) <= nowMs)
  if (stale.length === 0) return undefined
  const names = stale.map(({ role, signed }) => `${role} (expired ${signed.expires})`).join(' and ')
  return `Waived: the expiry of ${names}. There may be a newer release; all else was checked.`
}

/** The job's end, or why it cannot go on: what it waits for, it waits for in this try (`takenUp`). */
function ended(device: RunningDevice, { path, sha256 }: Release): Promise<Job | string> {
  return new Promise((resolve) => {
    device.record.subscribe(({ jobs }) => {
      const job = (jobs as Job[]).find((one) => one.release.path === path && one.release.sha256 === sha256)
      if (job === undefined) return
      if (!isActive(job)) resolve(job)
      else if (stateOf(job) === 'queued') resolve(reasonOf(job) ?? 'it cannot go on')
    })
  })
}
