/** Where a device's Nostr relays, trackers and ICE servers are: from its relays, from its settings, or as last heard. */
import { join } from 'node:path'
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import {
  fetchRelayConfig,
  relayConfigSchema,
  type IceServer,
  type RelayConfig,
} from '../../web/edge/relay-config.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import { writeDurably } from '../storage/durable.ts'
import type { Ports } from './ports.ts'

export type Network = Readonly<{
  nostrUrls: readonly string[]
  trackers: readonly string[]
  iceServers: readonly IceServer[]
}>

const cacheFile = (dataDir: string): string => join(dataDir, 'relay-config.json')

/** Never fails: a relay that is down is where it was, or where our relays are by default. */
export async function networkOf(config: DeviceConfig, ports: Ports, log: Logger): Promise<Network> {
  const heard = await Promise.all(
    config.relays.map(async (relay) => {
      try {
        return await fetchRelayConfig(relay, ports.fetch)
      } catch (error) {
        log.warn(error instanceof Error ? error.message : String(error))
        return undefined
      }
    }),
  )
  const cached = await readCache(config.dataDir)
  const known = config.relays.map((relay, i) => heard[i] ?? cached[relay])
  const toKeep = Object.fromEntries(
    config.relays.flatMap((relay, i) => (known[i] ? [[relay, known[i]]] : [])),
  )
  await writeDurably(cacheFile(config.dataDir), JSON.stringify(toKeep)).catch(() => undefined)

  const socket = (relay: string, path: string): string => `${relay.replace(/^http/, 'ws')}${path}`
  const unique = (urls: readonly string[]): string[] => [...new Set(urls)]
  return {
    nostrUrls: unique([
      ...config.relays.map((relay, i) => known[i]?.nostrUrl ?? socket(relay, '/nostr')),
      ...config.nostrRelays,
    ]),
    trackers: unique([
      ...(config.useRelayTracker
        ? config.relays.map((relay, i) => known[i]?.trackerUrl ?? socket(relay, '/tracker'))
        : []),
      ...config.trackers,
    ]),
    iceServers: [
      ...config.iceServers,
      ...(config.useRelayIceServers ? known.flatMap((relay) => relay?.iceServers ?? []) : []),
    ],
  }
}

async function readCache(dataDir: string): Promise<Record<string, RelayConfig>> {
  try {
    return v.parse(
      v.record(v.string(), relayConfigSchema),
      JSON.parse(await readFile(cacheFile(dataDir), 'utf8')),
    )
  } catch {
    return {} // a cache: without one the relays are asked again at the next start
  }
}
