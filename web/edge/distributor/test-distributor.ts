/** Distributors among fakes, and a clock that the test moves. */
import { vi } from 'vitest'
import type { Bytes } from '../../core/bytes.ts'
import type { Live } from '../../core/live.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from '../wallet/fake.ts'
import type { Conditions, Distributor, DistributorSettings, DistributorSnapshot } from './api.ts'
import { createDistributor, defaultSettings } from './distributor.ts'
import {
  fakeConfig,
  fakeDisk,
  fakeFetch,
  fakeParts,
  fakePool,
  fakeVendor,
  party,
  RELAY,
} from './fake-parts.ts'
import { memoryJournal } from '../swarm/memory.ts'

export const MONEY = 'sandbox:relay'
export const PIECE = 16_384

export function world() {
  const acme = fakeVendor(7, 'Acme')
  const other = fakeVendor(8, 'Other')
  const vendors = [acme, other]
  const listed = [acme, other]
  const journal = memoryJournal()
  const disk = fakeDisk()
  const pool = fakePool()
  const fakes = fakeParts(vendors)
  const bank = createFakeMoney({ money: MONEY })
  const wallet = bank.wallet('seller', msat(1_000_000))
  const make = (change: Partial<DistributorSettings> = {}, conditions?: Live<Conditions>): Distributor =>
    createDistributor({
      identity: party(1),
      relayUrl: RELAY,
      config: fakeConfig(MONEY, listed),
      pool,
      wallet,
      stores: { openStore: disk.openStore, journal },
      settings: { ...defaultSettings(MONEY), ...change },
      ...(conditions && { conditions }),
      nowMs: () => Date.now(),
      random: (length) => new Uint8Array(length) as Bytes,
      fetch: fakeFetch(() => fakeConfig(MONEY, vendors), vendors),
      parts: fakes.parts,
    })
  return { acme, other, listed, journal, disk, pool, fakes, bank, wallet, make }
}

/** Runs timers until the distributor shows it. */
export async function until(
  at: Distributor,
  holds: (now: DistributorSnapshot) => boolean,
): Promise<DistributorSnapshot> {
  for (let step = 0; step < 100; step++) {
    await vi.advanceTimersByTimeAsync(100)
    if (holds(at.get())) return at.get()
  }
  throw new Error(`not reached: ${JSON.stringify(at.get(), undefined, 1)}`)
}
export const fill = async (
  store: { have: Uint8Array; write(piece: number, bytes: Uint8Array): Promise<void> },
  n: number,
) => {
  for (let piece = 0; piece < n; piece++) await store.write(piece, new Uint8Array(PIECE))
}
