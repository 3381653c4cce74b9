import fc from 'fast-check'
import { expect, test } from 'vitest'
import { METHODS } from '../../web/core/wallet/nip47.ts'
import { createLimits } from './limits.ts'
import { silent, startService } from './harness.ts'
import { rawClient } from './raw-client.ts'

const REQUESTS = 10_000

const names = [
  ...['amount', 'invoice', 'payment_hash', 'preimage', 'pubkey', 'limit', 'offset', 'max_amount', 'expiry'],
  ...[
    'expires_at',
    'description',
    'description_hash',
    'request_methods',
    'isolated',
    'paused',
    'from',
    'until',
  ],
]
const odd = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom(
    'ff'.repeat(32),
    '00'.repeat(32),
    'lnbcrt1',
    -1,
    0,
    0.5,
    1e300,
    2 ** 53,
    true,
    null,
    [],
    {},
  ),
)
const method = fc.oneof(fc.constantFrom(...METHODS, 'pay_keysend', 'multi_pay_invoice'), fc.string())
const params = fc.oneof(fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), odd), odd)
const body = fc.oneof(
  { weight: 5, arbitrary: fc.record({ method, params }) },
  { weight: 1, arbitrary: fc.jsonValue() },
  { weight: 1, arbitrary: fc.string({ minLength: 1 }) },
)
const content = fc.oneof(
  { weight: 6, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.base64String({ maxLength: 400 }) },
  { weight: 1, arbitrary: fc.base64String({ maxLength: 80 }).map((text) => `${text}?iv=${text}`) },
)
const encryption = fc.constantFrom('nip44_v2' as const, 'nip04' as const)

test('ten thousand malformed requests move no money, are answered in the words of the standard, and end nothing', async () => {
  const failures: unknown[] = []
  const log = { ...silent, error: (data: object) => failures.push(data) }
  const service = await startService({ log, limits: createLimits(1e9, 1e9) })
  try {
    const client = rawClient(service, (await service.wallet.openAccount({ grantMsat: 10_000 })).connection)
    const other = rawClient(service, (await service.wallet.openAccount({ grantMsat: 10_000 })).connection)
    // Something to hit: a connection, an open invoice, a held payment.
    client.ask('create_connection', {
      pubkey: 'fe'.repeat(32),
      name: 'child',
      request_methods: ['pay_invoice'],
    })
    other.ask('make_invoice', { amount: 5, preimage: '00'.repeat(32) })
    const movements = service.wallet.audit().movements
    fc.assert(
      fc.property(
        body.filter((value) => value !== ''),
        content,
        encryption,
        (value, text, how) => {
          const options = { encryption: how, ...(text !== undefined && { content: text }) }
          const [reply] = client.send(client.event(value, options))
          if (reply?.error) expect(reply.error.code).not.toBe('INTERNAL')
        },
      ),
      { numRuns: REQUESTS },
    )
    for (const one of [client, other]) expect(one.ask('get_balance').result).toEqual({ balance: 10_000 })
    expect(service.wallet.audit()).toMatchObject({ problems: [], movements })
    expect([service.wallet.health(), failures]).toEqual([{ ok: true }, []])
  } finally {
    await service.stop()
  }
}, 1_200_000)
