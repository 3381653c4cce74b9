/** Sums over devices and releases, as the fleet view shows them. */
import type { PartyKey } from '../bytes.ts'
import { msat, sum, type Msat } from '../money/msat.ts'
import type { Resold, SellerSum } from './messages.ts'

/** A late payment, as far as sums go. */
type Late = Readonly<{ seller: PartyKey; paidMsat: Msat; feesMsat: Msat }>

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** `undefined`: nobody says that anything was sold on. */
export function sumResold(all: readonly (Resold | undefined)[]): Resold | undefined {
  const told = all.filter((one) => one !== undefined)
  if (told.length === 0) return undefined
  const total = (pick: (one: Resold) => number) => told.reduce((n, one) => n + pick(one), 0)
  return {
    earnedMsat: sum(told.map((one) => one.earnedMsat)),
    pieces: total((one) => one.pieces),
    bytes: total((one) => one.bytes),
  }
}

export function withLate(sellers: readonly SellerSum[], late: readonly Late[]): readonly SellerSum[] {
  if (late.length === 0) return sellers
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
      paidMsat: msat((before?.paidMsat ?? 0) + one.paidMsat),
      feesMsat: msat((before?.feesMsat ?? 0) + one.feesMsat),
      rateBps: (before?.rateBps ?? 0) + one.rateBps,
      ...(dropped === undefined ? {} : { dropped }),
    })
  }
  return [...merged.values()].sort((a, b) => b.paidMsat - a.paidMsat || text(a.seller, b.seller))
}
