import { test } from 'vitest'
import { killAtEachStep } from './kill-harness.ts'

test('killed at any step of a payment, the request is executed once and every msat is there', async () => {
  await killAtEachStep({
    prepare({ payer, payee }) {
      const invoice = payee.ask('make_invoice', { amount: 400 }).result?.['invoice']
      return { by: 'payer', event: payer.event({ method: 'pay_invoice', params: { invoice } }) }
    },
    after: { payer: 596, payee: 400 },
  })
}, 300_000)
