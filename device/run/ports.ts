/** What the running device takes from the world: the real ones are filled in by `real-ports.ts`, tests give others. */
import { statfs } from 'node:fs/promises'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type { CreateDownload, CreateShop, CreateSwarm } from '../../web/edge/swarm/api.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { StepLink } from '../install/step-link.ts'

export type Ports = Readonly<{
  createSwarm: CreateSwarm
  createDownload: CreateDownload
  createShop: CreateShop
  createPool: (urls: readonly string[]) => Pool
  /** `connection` is a secret. */
  openWallet: (connection: string) => Promise<Wallet>
  /** `artifactOf`: the file that a release is bought into, by the release's path. */
  openInstallStep: (
    options: Readonly<{
      config: DeviceConfig
      signal: AbortSignal
      artifactOf: (path: string) => string | undefined
    }>,
  ) => StepLink
  fetch: typeof fetch
  nowMs: () => number
  /** The same until the machine starts again. */
  bootId?: () => string | undefined
  /** In [0, 1), for jitter. */
  random: () => number
  randomBytes: (length: number) => Bytes
  freeBytes: (directory: string) => Promise<number>
  /** How long anything waits before it is tried or asked again, Unix ms. */
  retryMs: number
  /** No seller for so long is told as waiting. */
  lonelyMs: number
  /**
   * From a stick: nothing but this release and what comes before it is gone on with, the expiry of timestamp and snapshot
   * is waived, and nobody needs to have accepted the device.
   */
  offline?: Readonly<{ release: Release }>
  /** How long a payment that settled late is listened for after the end. */
  lateWatchMs: number
}>

export const freeBytesOf = async (directory: string): Promise<number> => {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

export { BUILT_AT_S } from './built-at.ts'
