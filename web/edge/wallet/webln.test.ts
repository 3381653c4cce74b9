import { expect, test } from 'vitest'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from './fake.ts'
import type { Wallet } from './wallet.ts'
import { connectWebLn, type WebLnProvider } from './webln.ts'

/** A WebLN provider as extensions offer it, over a wallet that really pays. */
const providerOver = (wallet: Wallet, over: Partial<WebLnProvider> = {}): WebLnProvider => ({
  enable: async () => undefined,
  getInfo: async () => ({ node: { alias: 'Ext' }, methods: ['getInfo', 'makeInvoice', 'sendPayment'] }),
  getBalance: async () => ({ balance: (await wallet.balance()) / 1000, currency: 'sats' }),
  makeInvoice: async ({ amount, defaultMemo }) => {
    const wanted = { amount: msat(amount * 1000), description: defaultMemo, expirySeconds: 60 }
    return { paymentRequest: (await wallet.makeInvoice(wanted)).bolt11 }
  },
  sendPayment: async (bolt11) => {
    const paid = await wallet.pay(bolt11)
    if (paid.tag !== 'paid') throw new Error(paid.message)
    return { preimage: paid.preimage }
  },
  ...over,
})

function pair(): { mine: Wallet; theirs: Wallet } {
  const money = createFakeMoney({ money: 'sandbox:webln' })
  return { mine: money.wallet('mine', msat(50_000)), theirs: money.wallet('theirs', msat(0)) }
}
const invoice = (amount: number) => ({ amount: msat(amount), description: 'a thing', expirySeconds: 60 })

test('pays, receives and tells its balance; the proof is checked', async () => {
  const { mine, theirs } = pair()
  const wallet = await connectWebLn(providerOver(mine))
  expect([...(await wallet.info()).features]).toEqual(['pay', 'receive'])
  const { bolt11 } = await theirs.makeInvoice(invoice(7_000))
  expect(await wallet.pay(bolt11)).toMatchObject({ tag: 'paid' })
  expect(await wallet.balance()).toBe(43_000)
  expect((await wallet.makeInvoice(invoice(2_000))).amount).toBe(2_000)
  await expect(wallet.makeInvoice(invoice(2_001))).rejects.toMatchObject({ code: 'not-implemented' })
})

test('a refusal, a false proof and an answer that is none leave the payment unknown', async () => {
  const { mine, theirs } = pair()
  const { bolt11 } = await theirs.makeInvoice(invoice(7_000))
  for (const sendPayment of [
    async () => Promise.reject(new Error('User rejected')),
    async () => ({ preimage: '00'.repeat(32) }),
    async () => 'ok',
  ]) {
    const wallet = await connectWebLn(providerOver(mine, { sendPayment }))
    expect((await wallet.pay(bolt11)).tag).toBe('unknown')
  }
})

test('says no when its owner does, and what it cannot do', async () => {
  const { mine } = pair()
  const refusing = providerOver(mine, { enable: () => Promise.reject(new Error('no')) })
  await expect(connectWebLn(refusing)).rejects.toMatchObject({ code: 'restricted' })
  const wallet = await connectWebLn(providerOver(mine))
  await expect(wallet.history({ limit: 1, offset: 0 })).rejects.toMatchObject({ code: 'not-implemented' })
  wallet.close()
  expect(await wallet.pay('lnbcrt1')).toMatchObject({ tag: 'failed' })
})
