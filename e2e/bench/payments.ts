/** `payments`: how many a GiB takes at the defaults, and what the protocol costs beside the artifact, wallet messages included. */
import { MIB, type Bench } from './bench.ts'
import type { Detail } from './child.ts'
import { openHouse, paidTransfer } from './contest.ts'
import { makeMaterial } from './material.ts'
import { figure, row } from './table.ts'

const GIB = 1024 * MIB
const TIMEOUT_MS = 280_000

const number = (of: unknown, name: string): number => Number((of as Detail)[name])

export const paymentsBench: Bench = {
  name: 'payments',
  about: 'payments per GiB at the defaults, protocol bytes per artifact byte',
  async run(context) {
    const bytes = (context.quick ? 128 : 512) * MIB
    const material = await makeMaterial(context.dir, bytes, 'payments')
    const house = await openHouse(context.dir, { latencyMs: 0 }, context.profileDir)
    const [payments, shares]: number[][] = [[], []]
    let note = ''
    try {
      for (let run = 0; run < (context.pairs ?? (context.quick ? 1 : 5)); run++) {
        const one = await paidTransfer(context, {
          material,
          house,
          timeoutMs: TIMEOUT_MS,
          profileDir: context.profileDir,
        })
        payments?.push((number(one.detail, 'payments') * GIB) / bytes)
        const { buyer, seller } = one.traffic ?? { buyer: {}, seller: {} }
        const channels = number(buyer['channels'], 'sent') + number(buyer['channels'], 'received') - bytes
        const wallet = [buyer, seller].map(
          (side) => number(side['nostr'], 'sent') + number(side['nostr'], 'received'),
        )
        const nostr = (wallet[0] ?? 0) + (wallet[1] ?? 0)
        shares?.push((channels + nostr) / bytes)
        note = `frames, hashes, quotes, haves ${figure((100 * channels) / bytes)} %; wallets and Nostr of both ${figure((100 * nostr) / bytes)} %`
      }
    } finally {
      await house.child.stop()
    }
    return [
      row('payments per GiB', payments ?? [], 256, 'lower', { note: `${bytes / MIB} MiB` }),
      row('protocol bytes per artifact byte', shares ?? [], 0.01, 'lower', { note }),
    ]
  },
}
