import { test } from 'vitest'
import { fromHex, sha256Hex } from '../../web/core/bytes.ts'
import { killAtEachStep, type Case, type Parties } from './kill-harness.ts'

const preimage = '0a'.repeat(32)
const payment_hash = sha256Hex(fromHex(preimage))
const pubkey = '0c'.repeat(32)

/** 400 msat of the payer, and 4 of fees, are locked for the payee. */
function lock({ payer, payee }: Parties): void {
  const invoice = payee.ask('make_hold_invoice', { amount: 400, payment_hash }).result?.['invoice']
  payer.send(payer.event({ method: 'pay_invoice', params: { invoice } }))
}
const allowance = {
  ...{ pubkey, name: 'pi', request_methods: ['pay_invoice', 'get_balance'] },
  ...{ max_amount: 300, isolated: true },
}
const by = (who: 'payer' | 'payee', method: string, params: object, first?: (parties: Parties) => void) =>
  ((parties) => {
    first?.(parties)
    return { by: who, event: parties[who].event({ method, params }) }
  }) satisfies Case['prepare']
const cut = ({ payer }: Parties): void => void payer.ask('create_connection', allowance)

test.each<[string, Case]>([
  [
    'the settling of a hold',
    { prepare: by('payee', 'settle_hold_invoice', { preimage }, lock), after: { payer: 596, payee: 400 } },
  ],
  [
    'the cancelling of a hold',
    { prepare: by('payee', 'cancel_hold_invoice', { payment_hash }, lock), after: { payer: 1000, payee: 0 } },
  ],
  [
    'the making of an isolated connection',
    { prepare: by('payer', 'create_connection', allowance), after: { payer: 700, payee: 0 } },
  ],
  [
    'a top-up',
    {
      prepare: by('payer', 'update_connection', { pubkey, max_amount: 500 }, cut),
      after: { payer: 500, payee: 0 },
    },
  ],
  [
    'the taking back of a part',
    {
      prepare: by('payer', 'update_connection', { pubkey, max_amount: 100, paused: true, name: 'less' }, cut),
      after: { payer: 900, payee: 0 },
    },
  ],
  [
    'a revocation',
    { prepare: by('payer', 'delete_connection', { pubkey }, cut), after: { payer: 1000, payee: 0 } },
  ],
])(
  'killed at any step of %s, it happens once and every msat is there',
  async (_, one) => {
    await killAtEachStep(one)
  },
  240_000,
)
