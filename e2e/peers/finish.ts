/** What must hold at the end of every fight, and how long the honest rest took. */
import { expect } from 'vitest'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import { CAP, GRANT, type Arena, type Device } from './arena.ts'
import type { Deal, HostileSeller } from './hostile-seller.ts'

/** What a seller has of the device's sats. */
export const lost = (hostile: HostileSeller): Promise<number> => hostile.wallet.balance()

/** The windows for which the device's sats are locked, neither settled nor given back. */
export async function lockedDeals({ deals, wallet }: HostileSeller): Promise<readonly Deal[]> {
  const states = await Promise.all(deals.map(({ signed }) => wallet.lookUp(signed.quote.paymentHash)))
  return deals.filter((_, i) => states[i]?.state === 'accepted')
}

export const lostTo = async (hostiles: readonly HostileSeller[]): Promise<number> => {
  let total = 0
  for (const hostile of hostiles) total += await lost(hostile)
  return total
}

/**
 * An honest seller comes: everything else is bought from it, nothing twice, and every receipt checks. Gives the
 * milliseconds on the arena's clock from then until the file was whole.
 */
export async function finish(arena: Arena, device: Device): Promise<number> {
  const fromMs = arena.nowMs()
  await arena.seller()
  return await whole(arena, device, fromMs)
}

export async function whole(arena: Arena, device: Device, fromMs = arena.nowMs()): Promise<number> {
  await device.download.complete
  const tookMs = arena.nowMs() - fromMs
  expect(arena.intact(device)).toBe(true)
  expect(device.download.get().boughtTwice).toBe(0)
  const against = {
    root: arena.meta.piecesRoot,
    shape: arena.meta,
    cap: CAP,
    buyer: device.identity.key,
  }
  for (const receipt of device.download.receipts()) expect(verifyReceipt(receipt, against).ok).toBe(true)
  return tookMs
}

/** Every msat that left the device is in its books or locked: none is gone unseen. */
export async function accounted(device: Device): Promise<void> {
  const { paid, fees, locked } = device.download.get()
  expect(await device.wallet.balance()).toBe(GRANT - paid - fees - locked)
}
