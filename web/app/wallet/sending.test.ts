import { expect, onTestFinished, test, vi } from 'vitest'
import { encodeInvoice } from '../../core/money/bolt11.ts'
import { msat } from '../../core/money/msat.ts'
import { sha256Hex, fromHex } from '../../core/bytes.ts'
import type { PayResult } from '../../edge/wallet/wallet.ts'
import { Sending } from './sending.svelte.ts'

const wallet = vi.hoisted(() => ({ pay: (): Promise<PayResult> => Promise.reject(new Error('not set')) }))
vi.mock('./wallets.svelte.ts', () => ({
  wallets: { wallet: () => ({ pay: () => wallet.pay() }), refresh: () => undefined },
}))

const bolt11 = encodeInvoice(
  {
    ...{ prefix: 'lnbc', amount: msat(5000), paymentSecret: '0c'.repeat(32), description: '' },
    ...{ paymentHash: sha256Hex(fromHex('0d'.repeat(32))), createdAtMs: Date.now(), expirySeconds: 600 },
  },
  new Uint8Array(32).fill(11),
)
const row = {
  ...({ id: 'mine', tag: 'open', name: 'mine', origin: 'webln' } as const),
  view: { connected: true, lines: [] },
}

test.each([
  ['is asked again where the wallet looks it up', ['pay', 'look-up'], 2],
  ['is asked for once where each asking is a question to its owner', ['pay'], 1],
] as const)('a payment without an answer %s', async (_, features, times) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  let asked = 0
  wallet.pay = () => (asked++, Promise.resolve({ tag: 'unknown', message: 'no answer' }))
  const info = { money: 'bitcoin', alias: 'mine', features: new Set(features) } as const
  const sending = new Sending(() => ({ ...row, view: { ...row.view, info } }))
  sending.text = bolt11
  await sending.pay()
  await vi.advanceTimersByTimeAsync(3_500)
  expect(asked).toBe(times)
  await sending.pay()
  expect(asked).toBe(times + 1)
  sending.stop()
})

test('a payment is asked for no more when its dialog was closed before the wallet answered', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const answer = Promise.withResolvers<PayResult>()
  let asked = 0
  wallet.pay = () => (asked++, answer.promise)
  const sending = new Sending(() => row)
  sending.text = bolt11
  const paying = sending.pay()
  sending.stop()
  answer.resolve({ tag: 'unknown', message: 'no answer' })
  await paying
  await vi.advanceTimersByTimeAsync(60_000)
  expect(asked).toBe(1)
})
