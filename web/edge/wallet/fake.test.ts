import { expect, test } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from './fake.ts'
import { walletSuite } from './wallet-suite.ts'

walletSuite('fake', async ({ holdLimitMs }) => {
  let offset = 0
  const money = createFakeMoney({
    money: 'sandbox:fake',
    now: () => Date.now() + offset,
    ...(holdLimitMs !== undefined && { holdLimitMs }),
  })
  let names = 0
  let clients = 0
  return {
    open: async (balance) => money.wallet(`wallet ${++names}`, msat(balance)),
    async cut(parent, request) {
      const client = (++clients).toString(16).padStart(64, '0')
      await parent.createConnection({ ...request, client })
      return money.connect(client)
    },
    advance: (ms) => (offset += ms),
    stop: async () => {},
  }
})

test('the fake runs on the caller’s clock alone and loses no msat', async () => {
  let now = 0
  const queue: { at: number; order: number; run: () => void }[] = []
  let order = 0
  const money = createFakeMoney({
    money: 'sandbox:sim',
    now: () => now,
    schedule: (delay, run) => queue.push({ at: now + delay, order: order++, run }),
    latencyMs: () => 40,
    holdLimitMs: 5000,
  })
  const [payer, payee] = [money.wallet('payer', msat(1000)), money.wallet('payee', msat(0))]
  const log: string[] = []
  const preimage = '05'.repeat(32)
  const request = { amount: msat(400), description: '', expirySeconds: 60 }
  void payee.makeInvoice({ ...request, preimage }).then(({ bolt11 }) => {
    log.push(`made at ${now}`)
    return payer.pay(bolt11).then(({ tag }) => log.push(`${tag} at ${now}`))
  })
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  for (await settle(); queue.length > 0; await settle()) {
    queue.sort((a, b) => a.at - b.at || a.order - b.order)
    const next = queue.shift()
    now = next?.at ?? now
    next?.run()
  }
  expect(log).toEqual(['made at 80', 'paid at 160'])
  expect(money.total()).toBe(1000)
})
