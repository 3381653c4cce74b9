import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import { parseSweepTarget, type SweepTarget } from '../../core/wallet/sweep.ts'
import { memoryJournal } from '../swarm/memory.ts'
import { createFakeMoney } from './fake.ts'
import { startSweeping } from './sweep.ts'
import type { Wallet } from './wallet.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})
/** A real server on this machine, as an address's host serves LUD-06; `fetch` finds it under its https name. */
async function addressServer(payee: Wallet, maxSendable: number): Promise<typeof fetch> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'https://pay.example')
    const amount = Number(url.searchParams.get('amount'))
    const answer = url.pathname.startsWith('/.well-known/lnurlp/')
      ? Promise.resolve({
          ...{ tag: 'payRequest', callback: 'https://pay.example/invoice', minSendable: 1000, maxSendable },
          metadata: '[["text/plain","bob"]]',
        })
      : payee
          .makeInvoice({ amount: msat(amount), description: 'sweep', expirySeconds: 60 })
          .then(({ bolt11 }) => ({ pr: bolt11, routes: [] }))
    void answer.then((body) => response.end(JSON.stringify(body)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  undo.push(() => new Promise((resolve) => server.close(resolve)))
  const here = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return (input, init) =>
    fetch(String(input instanceof Request ? input.url : input).replace('https://pay.example', here), init)
}
function stage(options: { maxSendable?: number } = {}) {
  const money = createFakeMoney({ money: 'sandbox:x' })
  const [seller, owner] = [money.wallet('seller', msat(1_000_000)), money.wallet('owner', msat(0))]
  const journal = memoryJournal()
  const log = vi.fn()
  const begin = async (target: SweepTarget | undefined) => {
    if (!target) throw new Error('no target')
    const fetcher = await addressServer(owner, options.maxSendable ?? 1e9)
    const common = { journal, nowMs: Date.now, fetch: fetcher, log, above: msat(300_000) }
    const sweeper = startSweeping({ wallet: seller, target, ...common })
    undo.push(() => sweeper.stop())
    await sweeper.look()
    return sweeper
  }
  return { seller, owner, journal, log, begin }
}
const bob = parseSweepTarget('bob@pay.example')

test('what is above the sum goes to the address, once', async () => {
  const { seller, owner, log, begin, journal } = stage()
  const sweeper = await begin(bob)
  await sweeper.look()
  expect([await seller.balance(), await owner.balance()]).toEqual([300_000, 700_000])
  expect(log.mock.calls).toEqual([['swept', { amountMsat: 700_000, feesMsat: 0 }]])
  expect(journal.records.size).toBe(0)
})

test('no more than the address takes at once', async () => {
  const { owner, begin } = stage({ maxSendable: 200_500 })
  await begin(bob)
  expect(await owner.balance()).toBe(200_000)
})

test('a payment whose end is not known is looked up, and no other is made before', async () => {
  const { seller, owner, log, begin, journal } = stage()
  const pay = seller.pay.bind(seller)
  seller.pay = async (bolt11) => {
    await pay(bolt11)
    return { tag: 'unknown', message: 'no answer' }
  }
  const lookUp = seller.lookUp.bind(seller)
  seller.lookUp = async () => undefined
  const sweeper = await begin(bob)
  await sweeper.look()
  expect(journal.records.size).toBe(1)
  expect(await owner.balance()).toBe(700_000)
  seller.lookUp = lookUp
  await sweeper.look()
  expect(journal.records.size).toBe(0)
  expect(log.mock.calls.map(([event]) => event as string)).toEqual(['sweep-unknown', 'swept'])
})

test('an invoice is paid when there is enough for it', async () => {
  const { seller, owner, begin, log } = stage()
  const make = (amount: number) =>
    owner.makeInvoice({ amount: msat(amount), description: 'sweep', expirySeconds: 60 })
  const dear = await make(800_000)
  await begin(parseSweepTarget(dear.bolt11))
  expect(await owner.balance()).toBe(0)
  await begin(parseSweepTarget((await make(500_000)).bolt11))
  expect([await seller.balance(), await owner.balance()]).toEqual([500_000, 500_000])
  expect(log).toHaveBeenCalledTimes(1)
})

test('an invoice that is paid is not paid again, whatever comes in', async () => {
  const { owner, begin, log } = stage()
  const { bolt11 } = await owner.makeInvoice({
    amount: msat(200_000),
    description: 'sweep',
    expirySeconds: 60,
  })
  const sweeper = await begin(parseSweepTarget(bolt11))
  await sweeper.look()
  expect(log.mock.calls.map(([event]) => event as string)).toEqual(['swept'])
})

test('an address that refuses is told, and nothing is paid', async () => {
  const { seller, begin, log } = stage()
  await begin(parseSweepTarget('bob@nowhere.invalid'))
  expect(log.mock.calls[0]?.[0]).toBe('sweep-failed')
  expect(await seller.balance()).toBe(1_000_000)
})
