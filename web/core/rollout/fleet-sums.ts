/** Sums over devices and releases, as the fleet view shows them. */
import type { PartyKey } from '../bytes.ts'
import { ZERO, type Msat } from '../money/msat.ts'
import type { Resold, SellerSum } from './messages.ts'

/** A late payment, as far as sums go. */
type Late = Readonly<{ seller: PartyKey; paidMsat: Msat; feesMsat: Msat }>

/** What devices say may be any amount: what is too much for a sum stands at the most, and the view holds. */
export const sumTold = (amounts: readonly Msat[]): Msat =>
  Math.min(
    amounts.reduce((total: number, amount) => total + amount, 0),
    Number.MAX_SAFE_INTEGER,
  ) as Msat

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** `undefined`: nobody says that anything was sold on. */
export function sumResold(all: readonly (Resold | undefined)[]): Resold | undefined {
  const told = all.filter((one) => one !== undefined)
  if (told.length === 0) return undefined
  const total = (pick: (one: Resold) => number) => told.reduce((n, one) => n + pick(one), 0)
  return {
    earnedMsat: sumTold(told.map((one) => one.earnedMsat)),
    pieces: total((one) => one.pieces),
    bytes: total((one) => one.bytes),
  }
}

/** One row a seller, however often the device names it. */
export function withLate(sellers: readonly SellerSum[], late: readonly Late[]): readonly SellerSum[] {
  return mergeSellers([
    ...sellers,
    ...late.map(({ seller, paidMsat, feesMsat }) => ({
      seller,
      pieces: 0,
      bytes: 0,
      paidMsat,
      feesMsat,
      rateBps: 0,
    })),
  ])
}

/** One row a seller; most paid first, then by key. */
export function mergeSellers(all: readonly SellerSum[]): SellerSum[] {
  const merged = new Map<PartyKey, SellerSum>()
  for (const one of all) {
    const before = merged.get(one.seller)
    const dropped = before?.dropped ?? one.dropped
    merged.set(one.seller, {
      seller: one.seller,
      pieces: (before?.pieces ?? 0) + one.pieces,
      bytes: (before?.bytes ?? 0) + one.bytes,
      paidMsat: sumTold([before?.paidMsat ?? ZERO, one.paidMsat]),
      feesMsat: sumTold([before?.feesMsat ?? ZERO, one.feesMsat]),
      rateBps: (before?.rateBps ?? 0) + one.rateBps,
      ...(dropped === undefined ? {} : { dropped }),
    })
  }
  return [...merged.values()].sort((a, b) => b.paidMsat - a.paidMsat || text(a.seller, b.seller))
}
