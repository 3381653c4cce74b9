/** The world as a real device meets it. */
import { webcrypto } from 'node:crypto'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { createSwarm } from '../../web/edge/swarm/swarm.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { freeBytesOf, type Ports } from './ports.ts'

export const realPorts: Ports = {
  createSwarm,
  createDownload,
  createShop,
  createPool,
  openWallet: connectNwc,
  fetch: globalThis.fetch,
  nowMs: Date.now,
  random: Math.random, // jitter only
  randomBytes: (length) => webcrypto.getRandomValues(new Uint8Array(length)),
  freeBytes: freeBytesOf,
  retryMs: 3000,
  lonelyMs: 4000,
  lateWatchMs: 600_000,
}
