/** The installation as the network process sees it: it asks the install step, which trusts nothing that it says. */
import { join } from 'node:path'
import type { Release } from '../../web/core/release/target.ts'
import type { Event, Job } from '../../web/core/rollout/lifecycle.ts'
import type { Action } from '../../web/core/rollout/lifecycle.ts'
import { filesToHand } from '../../web/edge/release/handed.ts'
import { fetchBounded } from '../../web/edge/release/http.ts'
import { metadataUrl, type Verified } from '../../web/edge/release/mirror.ts'
import type { TextStore } from '../../web/edge/release/store.ts'
import { LIMITS } from '../../web/core/release/tuf.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { InstallSettings } from '../install/settings.ts'
import type { InstallResult } from '../install/installer.ts'
import { NotInstalledYet, remoteInstaller } from '../install/step-link.ts'
import { installPath } from '../storage/downloads.ts'
import type { Jobs } from './jobs.ts'
import type { Ports } from './ports.ts'
import type { RefusedBook } from './refused.ts'

export type InstallAction = Extract<Action, { tag: 'prepare' | 'place' | 'switch' | 'check' | 'restore' }>

export interface Installing {
  /** Does what the job demands. Throws where the step cannot say yes yet: it is asked again. */
  act(job: Job, action: InstallAction): Promise<void>
  close(): Promise<void>
}

export type InstallingDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  jobs: Jobs
  /** What the looker keeps. */
  store: TextStore
  verified: () => Verified | undefined
  /** Releases that are being installed. */
  releases: () => readonly Release[]
  refused: Pick<RefusedBook, 'note'>
  signal: AbortSignal
}>

/** What a step that the device starts for itself goes by. */
export const settingsOf = (config: DeviceConfig): InstallSettings => ({
  version: 1,
  vendor: config.vendor,
  hardware: config.hardware,
  products: [...config.products],
  data_dir: config.dataDir,
  state_dir: join(config.dataDir, 'install'),
  products_dir: join(config.dataDir, 'products'),
  apart: config.installUser !== undefined,
  socket: '',
  health_command: config.health?.command ?? '',
  health_timeout_seconds: (config.health?.timeoutMs ?? 60_000) / 1000,
  command: config.installCommand?.command ?? '',
  command_timeout_seconds: (config.installCommand?.timeoutMs ?? 900_000) / 1000,
  rollback_command: config.installCommand?.rollback ?? '',
})

export function createInstalling(deps: InstallingDeps): Installing {
  const { config, ports, jobs, store, refused, signal } = deps
  const link = ports.openInstallStep({
    config,
    signal,
    artifactOf(path) {
      const release = deps.releases().find((one) => one.path === path)
      return release && installPath(config.dataDir, release)
    },
  })
  const installer = remoteInstaller(link, () => filesToHand(deps.verified(), store, fetchRoot))

  async function fetchRoot(version: number) {
    for (const mirror of config.relays) {
      const url = metadataUrl(mirror, config.vendor, `${version}.root.json`)
      const result = await fetchBounded(ports.fetch, url, { maxBytes: LIMITS.rootBytes, signal })
      if (result.tag === 'ok' && result.status === 200) return result.bytes
    }
    return undefined
  }

  async function record(job: Job, result: InstallResult, good: Event): Promise<void> {
    if (result.tag === 'ok') await jobs.apply(job, good)
    else if (result.tag === 'unfit') {
      if (result.attack !== undefined) refused.note(result.attack, 'this device’s disk', result.reason)
      await jobs.apply(job, { tag: 'unfit', reason: result.reason })
    }
  }

  async function act(job: Job, action: InstallAction): Promise<void> {
    const { release } = job
    switch (action.tag) {
      case 'prepare': {
        const plan = await installer.prepare(release)
        if (plan !== undefined) await jobs.apply(job, { tag: 'prepared', plan })
        return
      }
      case 'place':
        return record(job, await installer.run('place', action.plan, release), { tag: 'placed' })
      case 'switch':
        return record(job, await installer.run('activate', action.plan, release), { tag: 'switched' })
      case 'check': {
        const result = await installer.run('check', action.plan, release)
        return record(job, result, { tag: 'passed', at: ports.nowMs() })
      }
      case 'restore': {
        const result = await installer.run('restore', action.plan, release)
        const at = ports.nowMs()
        if (result.tag === 'ok') await jobs.apply(job, { tag: 'restored', at })
        else if (result.tag === 'unfit')
          await jobs.apply(job, { tag: 'not-restored', reason: result.reason, at })
        return
      }
      default:
        return action satisfies never
    }
  }

  return {
    async act(job, action) {
      try {
        await act(job, action)
      } catch (error) {
        if (error instanceof NotInstalledYet && error.attack !== undefined)
          refused.note(error.attack, 'the install step', error.message)
        throw error
      }
    },
    close: () => link.close(),
  }
}
