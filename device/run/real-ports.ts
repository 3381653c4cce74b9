/** The world as a real device meets it. */
import { webcrypto } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { createSwarm } from '../../web/edge/swarm/swarm.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { openInstallStep } from './install-links.ts'
import { freeBytesOf, type Ports } from './ports.ts'

function bootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return undefined // not Linux
  }
}

export const realPorts: Ports = {
  createSwarm,
  createDownload,
  createShop,
  createPool,
  openWallet: connectNwc,
  openInstallStep,
  fetch: globalThis.fetch,
  nowMs: Date.now,
  bootId,
  random: Math.random, // jitter only
  randomBytes: (length) => webcrypto.getRandomValues(new Uint8Array(length)),
  freeBytes: freeBytesOf,
  retryMs: 3000,
  lonelyMs: 4000,
  lateWatchMs: 600_000,
}
