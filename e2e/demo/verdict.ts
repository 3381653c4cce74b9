/**
 * Judges a finished demo: from the wallets' ledgers, the installed bytes and the receipts, none of which
 * comes from the code that bought; with real Lightning from the nodes too. Pure.
 */
import type { Htlcs } from '../lnd-lab/books.ts'

export type DeviceOutcome = Readonly<{
  id: string
  name: string
  state: string
  /** Of the bytes in the active slot. */
  sha256: string
  seconds: number
  /** From its wallet: fall of the balance, and fees of its settled payments. */
  balanceFallMsat: number
  paidMsat: number
  feesMsat: number
  /** What it told the vendor of fees. */
  reportedFeesMsat: number
  /** From its receipts, each checked here; the fee is what the device wrote beside it. */
  receipts: readonly Readonly<{
    seller: string
    amountMsat: number
    feesMsat: number
    valid: boolean
    paymentHash: string
  }>[]
  /** Payment hashes of its wallet's settled payments. */
  paymentHashes: readonly string[]
  piecesBoughtTwice: number
}>

export type SellerOutcome = Readonly<{
  id: string
  name: string
  /** From its wallet's ledger: what came in, except from other sellers. */
  earnedMsat: number
  uploadedBytes: number
}>

export type ReleaseOutcome = Readonly<{ name: string; version: string; sha256: string; bytes: number }>

export type Outcome = Readonly<{
  release: ReleaseOutcome
  devices: readonly DeviceOutcome[]
  sellers: readonly SellerOutcome[]
  htlcs?: Htlcs
}>

export type Verdict = Readonly<{
  ok: boolean
  problems: readonly string[]
  release: ReleaseOutcome
  devices: readonly Readonly<{
    id: string
    state: string
    sha256: string
    seconds: number
    paidMsat: number
    feesMsat: number
    receipts: number
    receiptsValid: boolean
    piecesBoughtTwice: number
    sellers: Readonly<Record<string, number>>
  }>[]
  sellers: readonly Readonly<{ id: string; earnedMsat: number; uploadedBytes: number }>[]
  /** With real Lightning: receipts whose payment both nodes have settled, and what these took. */
  lightning?: Readonly<{ payments: number; amountMsat: number; feesMsat: number }>
}>

const total = (amounts: Iterable<number>): number => {
  let sum = 0
  for (const amount of amounts) sum += amount
  return sum
}

/** Every rule that must hold; each broken one is a sentence. */
export function judge({ release, devices, sellers, htlcs }: Outcome): Verdict {
  const problems: string[] = []
  const demand = (holds: boolean, sentence: string): void => {
    if (!holds) problems.push(sentence)
  }
  for (const device of devices) {
    const { name } = device
    const receipted = total(device.receipts.map(({ amountMsat }) => amountMsat))
    demand(device.state === 'healthy', `${name} is ${device.state}, not healthy.`)
    demand(
      device.sha256 === release.sha256,
      `${name} has other bytes installed: SHA-256 ${device.sha256 || 'none'}.`,
    )
    demand(device.piecesBoughtTwice === 0, `${name} bought ${device.piecesBoughtTwice} pieces twice.`)
    for (const receipt of device.receipts)
      demand(receipt.valid, `${name} has a receipt that does not check, payment ${receipt.paymentHash}.`)
    const hashes = new Set(device.receipts.map(({ paymentHash }) => paymentHash))
    demand(hashes.size === device.receipts.length, `${name} shows one payment in two receipts.`)
    for (const paid of device.paymentHashes)
      demand(hashes.has(paid), `${name} paid ${paid} and has no receipt for it.`)
    demand(
      device.paidMsat === receipted,
      `${name} paid ${device.paidMsat} msat by its wallet, ${receipted} by its receipts.`,
    )
    const fees = total(device.receipts.map(({ feesMsat }) => feesMsat))
    demand(
      fees === device.feesMsat && device.reportedFeesMsat === device.feesMsat,
      `${name} paid ${device.feesMsat} msat of fees by its wallet, ${fees} by its receipts, ${device.reportedFeesMsat} by its report.`,
    )
    demand(
      device.balanceFallMsat === receipted + device.feesMsat,
      `${name}'s balance fell by ${device.balanceFallMsat} msat; receipts and fees are ${receipted + device.feesMsat}.`,
    )
  }
  const bySeller = Map.groupBy(
    devices.flatMap((device) => device.receipts),
    ({ seller }) => seller,
  )
  for (const seller of sellers) {
    const receipted = total((bySeller.get(seller.id) ?? []).map(({ amountMsat }) => amountMsat))
    demand(
      seller.earnedMsat === receipted,
      `${seller.name} was paid ${seller.earnedMsat} msat by its wallet; the devices' receipts are ${receipted}.`,
    )
  }
  for (const id of bySeller.keys())
    demand(
      sellers.some((seller) => seller.id === id),
      `Receipts name a seller that nobody started: ${id}.`,
    )
  const lightning = htlcs && seenByNodes(devices, htlcs, demand)
  return {
    ok: problems.length === 0,
    problems,
    release,
    devices: devices.map((device) => ({
      id: device.id,
      state: device.state,
      sha256: device.sha256,
      seconds: device.seconds,
      paidMsat: device.paidMsat,
      feesMsat: device.feesMsat,
      receipts: device.receipts.length,
      receiptsValid: device.receipts.every(({ valid }) => valid),
      piecesBoughtTwice: device.piecesBoughtTwice,
      sellers: Object.fromEntries(
        [...Map.groupBy(device.receipts, ({ seller }) => seller)].map(([seller, rows]) => [
          seller,
          total(rows.map(({ amountMsat }) => amountMsat)),
        ]),
      ),
    })),
    sellers: sellers.map(({ id, earnedMsat, uploadedBytes }) => ({ id, earnedMsat, uploadedBytes })),
    ...(lightning && { lightning }),
  }
}

/** Each receipt's payment has left the one node and come to the other, for the receipt's amount and the wallet's fees. */
function seenByNodes(
  devices: readonly DeviceOutcome[],
  { sent, received }: Htlcs,
  demand: (holds: boolean, sentence: string) => void,
): Verdict['lightning'] {
  const sums = { payments: 0, amountMsat: 0, feesMsat: 0 }
  for (const { name, receipts, feesMsat } of devices) {
    let fees = 0
    for (const { paymentHash, amountMsat } of receipts) {
      const out = sent.get(paymentHash)
      const seen = out?.amount === amountMsat && received.get(paymentHash) === amountMsat
      demand(seen, `${name} has a receipt whose payment the nodes do not have so: ${paymentHash}.`)
      if (!seen) continue
      fees += out.fee
      sums.payments++
      sums.amountMsat += amountMsat
    }
    demand(fees === feesMsat, `${name} paid ${feesMsat} msat of fees by its wallet, ${fees} by the node.`)
    sums.feesMsat += fees
  }
  return sums
}
