/** Wallets that pay one another's invoices over NIP-47, each one payment at a time; all in this process. */
import { connectNwc } from '../../../web/edge/wallet/nwc.ts'
import { msat } from '../../../web/core/money/msat.ts'
import type { Wallet } from '../../../web/edge/wallet/wallet.ts'
import { child } from '../child.ts'

export type PayersConfig = Readonly<{ payees: readonly string[]; payers: readonly string[] }>

const INVOICES_AT_ONCE = 50
const EXPIRY_S = 3600

/** Runs `work` on every item, so many at once. */
async function spread<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, lane: number) => Promise<void>,
) {
  const waiting = [...items]
  const lane = async (_: unknown, number: number): Promise<void> => {
    for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) await work(item, number)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

child<PayersConfig>(async ({ payees, payers }, tell) => {
  const open = (uris: readonly string[]): Promise<Wallet[]> => Promise.all(uris.map((uri) => connectNwc(uri)))
  const [sellers, wallets] = [await open(payees), await open(payers)]
  await Promise.all([...sellers, ...wallets].map((wallet) => wallet.balance()))
  let invoices: string[] = []
  tell('ready')
  return {
    answers: {
      prepare: async ({ count }) => {
        const made: string[] = []
        await spread([...Array(Number(count)).keys()], INVOICES_AT_ONCE, async (_, lane) => {
          const request = { amount: msat(1000), description: 'bench', expirySeconds: EXPIRY_S }
          const seller = sellers[lane % sellers.length] as Wallet
          made.push((await seller.makeInvoice(request)).bolt11)
        })
        invoices = made
        return {}
      },
      pay: async ({ parallel }) => {
        const latenciesMs: number[] = []
        const startedMs = performance.now()
        await spread(invoices.splice(0), Number(parallel), async (bolt11, lane) => {
          const askedMs = performance.now()
          const wallet = wallets[lane % wallets.length] as Wallet
          const result = await wallet.pay(bolt11)
          if (result.tag !== 'paid') throw new Error(`not paid: ${JSON.stringify(result)}`)
          latenciesMs.push(performance.now() - askedMs)
        })
        return { ms: performance.now() - startedMs, latenciesMs }
      },
    },
    async stop() {
      for (const wallet of [...sellers, ...wallets]) wallet.close()
    },
  }
})
