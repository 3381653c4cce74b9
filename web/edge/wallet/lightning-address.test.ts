import { expect, test } from 'vitest'
import { sha256Hex, utf8 } from '../../core/bytes.ts'
import { encodeInvoice } from '../../core/money/bolt11.ts'
import { msat } from '../../core/money/msat.ts'
import { createFakeMoney } from './fake.ts'
import { askAddress, askLnurl, invoiceFrom } from './lightning-address.ts'

const answering =
  (answers: Readonly<Record<string, unknown>>): typeof fetch =>
  async (input) => {
    const url = new URL(input instanceof Request ? input.url : input)
    const found = Object.entries(answers).find(([start]) => url.href.startsWith(start))
    if (!found) throw new TypeError('Failed to fetch')
    return new Response(typeof found[1] === 'string' ? found[1] : JSON.stringify(found[1]))
  }
const terms = {
  tag: 'payRequest',
  callback: 'https://pay.example/cb?x=1',
  minSendable: 1000,
  maxSendable: 9000,
}
const where = 'https://a.example/.well-known/lnurlp/bob'

test('an address is asked where LUD-16 says; its invoice must be for the amount', async () => {
  const payee = createFakeMoney({ money: 'sandbox:x' }).wallet('bob', msat(0))
  const { bolt11 } = await payee.makeInvoice({ amount: msat(5000), description: 'x', expirySeconds: 60 })
  const fetcher = answering({ [where]: terms, 'https://pay.example/cb?x=1&amount=': { pr: bolt11 } })
  const found = await askAddress('bob@a.example', fetcher)
  expect(found).toMatchObject({ least: 1000, most: 9000 })
  expect(await invoiceFrom(found, msat(5000), 'sandbox:x', fetcher)).toBe(bolt11)
  await expect(invoiceFrom(found, msat(5000), 'bitcoin', fetcher)).rejects.toThrow(/Nothing was paid/)
  expect(await askLnurl(where, fetcher)).toMatchObject({ address: 'a.example', least: 1000 })
  await expect(invoiceFrom(found, msat(6000), 'sandbox:x', fetcher)).rejects.toThrow(/something else/)
})

test.each([
  ['silence', {}, /does not answer/],
  ['a page', { [where]: '<html>' }, /nothing that can be paid/],
  ['an error', { [where]: { status: 'ERROR', reason: 'no such user' } }, /refuses: no such user/],
  ['another tag', { [where]: { ...terms, tag: 'withdrawRequest' } }, /nothing that can be paid/],
] as const)('%s is said in words', async (_, answers, message) => {
  await expect(askAddress('bob@a.example', answering(answers))).rejects.toThrow(message)
})

test('no invoice is taken over plain HTTP', async () => {
  const fetcher = answering({ [where]: { ...terms, callback: 'http://pay.example/cb' } })
  const found = await askAddress('bob@a.example', fetcher)
  await expect(invoiceFrom(found, msat(5000), 'sandbox:x', fetcher)).rejects.toThrow(/plain HTTP/)
})

test('an invoice that commits to another description than the address shows is not taken', async () => {
  const metadata = '[["text/plain","bob"]]'
  const bolt11 = (about: string): string =>
    encodeInvoice(
      {
        ...{ prefix: 'lnbc', amount: msat(5000), paymentHash: sha256Hex(utf8('p')), expirySeconds: 60 },
        ...{
          paymentSecret: '11'.repeat(32),
          createdAtMs: Date.now(),
          description: { hash: sha256Hex(utf8(about)) },
        },
      },
      new Uint8Array(32).fill(1),
    )
  const take = async (about: string): Promise<string> => {
    const pr = bolt11(about)
    const fetcher = answering({ [where]: { ...terms, metadata }, 'https://pay.example/cb': { pr } })
    return invoiceFrom(await askAddress('bob@a.example', fetcher), msat(5000), 'bitcoin', fetcher)
  }
  expect(await take(metadata)).toMatch(/^lnbc/)
  await expect(take('[["text/plain","eve"]]')).rejects.toThrow(/something else/)
})
