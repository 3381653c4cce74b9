/** What the running device takes from the world: the real ones are filled in by `real-ports.ts`, tests give others. */
import { statfs } from 'node:fs/promises'
import type { Bytes } from '../../web/core/bytes.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type { CreateDownload, CreateShop, CreateSwarm } from '../../web/edge/swarm/api.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'

export type Ports = Readonly<{
  createSwarm: CreateSwarm
  createDownload: CreateDownload
  createShop: CreateShop
  createPool: (urls: readonly string[]) => Pool
  /** `connection` is a secret. */
  openWallet: (connection: string) => Promise<Wallet>
  fetch: typeof fetch
  nowMs: () => number
  /** In [0, 1), for jitter. */
  random: () => number
  randomBytes: (length: number) => Bytes
  freeBytes: (directory: string) => Promise<number>
  /** How long anything waits before it is tried or asked again, Unix ms. */
  retryMs: number
  /** No seller for so long is told as waiting. */
  lonelyMs: number
  /** From a stick: the expiry of timestamp and snapshot is waived, and nobody needs to have accepted the device. */
  offline?: boolean
  /** How long a payment that settled late is listened for after the end. */
  lateWatchMs: number
}>

export const freeBytesOf = async (directory: string): Promise<number> => {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** Unix seconds before which no clock is plausible: this program did not exist. */
export const BUILT_AT_S = Date.UTC(2026, 10, 1) / 1000
