/** The vendor engine for one command: opened, used, closed. */
import { webcrypto } from 'node:crypto'
import { join } from 'node:path'
import { parseSha256Hex, type Bytes, type VendorId } from '../../web/core/bytes.ts'
import { relayBaseUrl } from '../../web/core/rollout/join.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import { fetchRelayConfig, RelayConfigError, type RelayConfig } from '../../web/edge/relay-config.ts'
import { VendorError, type Vendor } from '../../web/edge/vendor/api.ts'
import { asEventLog } from '../log.ts'
import { lockDirectory } from '../run/lock.ts'
import { makeDirectory } from '../storage/durable.ts'
import { openTextStore } from '../storage/text-store.ts'
import { CliError, EXIT, usage, type Command, type ExitCode, type Flags, type Input } from './command.ts'
import type { KeySource } from './keys-source.ts'

export const vendorFlags: Command['flags'] = {
  relay: { value: 'URL', help: 'the relay (default http://localhost:8787)' },
  vendor: { value: 'ID', help: 'the vendor, where these keys do not tell' },
}

const random = (length: number): Bytes => webcrypto.getRandomValues(new Uint8Array(length))

export function relayUrlOf(flags: Flags): string {
  const relayUrl = relayBaseUrl(flags.text('relay') ?? 'http://localhost:8787')
  if (relayUrl === undefined) throw usage('--relay must be an address such as https://relay.example.')
  return relayUrl
}

export type OpenVendor = Readonly<{
  vendor: Vendor
  pool: Pool
  config: RelayConfig
  relayUrl: string
  dataDir: string
}>

/** `dataDir` keeps what is trusted, under a lock. A `VendorError` comes out as a refusal in its own words. */
export async function openVendor(
  { flags, log }: Pick<Input, 'flags' | 'log'>,
  source: Pick<KeySource, 'keys'>,
  dataDir: string,
  run: (open: OpenVendor) => Promise<ExitCode>,
): Promise<ExitCode> {
  const relayUrl = relayUrlOf(flags)
  const vendorText = flags.text('vendor')
  const vendorId = parseSha256Hex(vendorText ?? '') as VendorId | undefined
  if (vendorText !== undefined && !vendorId) throw usage('--vendor is 64 hex digits.')
  await makeDirectory(dataDir)
  const unlock = await lockDirectory(dataDir)
  try {
    const config = await relayConfig(relayUrl)
    const [{ createPool }, { createVendor }] = await Promise.all([
      import('../../web/edge/nostr/pool.ts'),
      import('../../web/edge/vendor/vendor.ts'),
    ])
    const pool = createPool([config.nostrUrl])
    const vendor = createVendor({
      keys: source.keys,
      relayUrl,
      config,
      pool,
      store: openTextStore(join(dataDir, 'metadata')),
      ...(vendorId ? { vendor: vendorId } : {}),
      nowMs: Date.now,
      random,
      fetch: globalThis.fetch,
      log: asEventLog(log.child({ part: 'vendor' })),
    })
    try {
      await vendor.ready
      return await run({ vendor, pool, config, relayUrl, dataDir })
    } catch (error) {
      if (error instanceof VendorError) throw new CliError(EXIT.refused, error.message, { cause: error })
      throw error
    } finally {
      vendor.close()
      pool.close()
    }
  } finally {
    await unlock()
  }
}

async function relayConfig(relayUrl: string): Promise<RelayConfig> {
  try {
    return await fetchRelayConfig(relayUrl)
  } catch (error) {
    if (error instanceof RelayConfigError) throw new CliError(EXIT.failure, error.message)
    throw error
  }
}
