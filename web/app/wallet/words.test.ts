import { expect, test } from 'vitest'
import type { Money } from '../../core/money/msat.ts'
import { composeConnection } from '../../core/wallet/connection.ts'
import { recognise } from '../../core/wallet/pasted.ts'
import type { WalletFeature } from '../../edge/wallet/wallet.ts'
import { abilities, connectionInWords, misplaced, moneyInWords, wrongRelay, type Place } from './words.ts'

const secret = '71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c'
const wallet = 'b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4'
const connection = composeConnection({
  wallet,
  relays: ['wss://relay.example.com'],
  secret,
})
const invoice = 'lnbcrt10n1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypq'
const nsec = 'nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5'

test.each<[string, Place, RegExp | undefined]>([
  [connection, 'connect', undefined],
  [connection, 'send', /opens a wallet.*ask its owner for an invoice/],
  [connection, 'store', /Connect it as a wallet/],
  [connection.slice(0, -3), 'connect', /secret has 61/],
  [invoice, 'send', undefined],
  [invoice, 'connect', /To pay it, use Send/],
  ['alice@getalby.com', 'send', undefined],
  ['alice@getalby.com', 'connect', /can only be paid/],
  [nsec, 'connect', /secret Nostr key/],
  ['spstore1qqqq', 'store', undefined],
  ['spstore1qqqq', 'send', /Shop page/],
  ['spjoin1qqqq', 'connect', /enrols a device/],
  ['nostr+walletauth://x', 'connect', /Make an allowance instead/],
  ['lnurlp://pay.example/bob', 'send', undefined],
  ['lnurlp://pay.example/bob', 'connect', /opens no wallet/],
  ['lno1qgsqvgnwgcg35z6', 'send', /BOLT 12/],
  ['cashuAeyJ0b2tlbiI6W3', 'send', /ecash/],
  ['lndhub://a:b@https://hub.example', 'connect', /LNDhub/],
  ['wss://relay.example.com', 'connect', /relay alone/],
  [
    'legal winner thank year wave sausage worth useful legal winner thank yellow',
    'connect',
    /recovery words/,
  ],
  ['hello', 'send', /Paste an invoice/],
])('%.30s where one asks to %s', (text, place, says) => {
  const words = misplaced(recognise(text), place)
  if (says === undefined) return expect(words).toBeUndefined()
  expect(words).toMatch(says)
  expect(words).not.toContain(secret.slice(0, 12))
  expect(words).not.toContain(nsec.slice(5, 20))
})

test.each([
  [['ws://127.0.0.1:8787/nostr'], { secure: false, local: true }, undefined],
  [['ws://127.0.0.1:8787/nostr'], { secure: true, local: false }, /on the computer where it was made/],
  [['ws://relay.example.com'], { secure: true, local: false }, /without encryption/],
  [['ws://relay.example.com'], { secure: false, local: false }, undefined],
  [['ws://localhost', 'wss://relay.example.com'], { secure: true, local: false }, undefined],
])('a connection over %j, pasted into a page that is %j', (relays, here, says) => {
  const pasted = recognise(composeConnection({ wallet, relays, secret }))
  if (pasted.tag !== 'connection') throw new Error(pasted.tag)
  const { connection } = pasted
  const words = wrongRelay(connection, here)
  if (says === undefined) expect(words).toBeUndefined()
  else expect(words).toMatch(says)
})

test('a connection is told in words, without its secret', () => {
  const pasted = recognise(connection)
  if (pasted.tag !== 'connection') throw new Error(pasted.tag)
  const told = JSON.stringify(connectionInWords(pasted.connection, pasted.client))
  expect(told).toContain('relay.example.com')
  expect(told).not.toContain(secret.slice(0, 8))
})

test('what a wallet lacks is said with what follows', () => {
  const words = (features: WalletFeature[], money: Money = 'bitcoin'): string =>
    abilities({ money, alias: 'x', features: new Set(features) })
      .map(({ what, so }) => `${what}. ${so}`)
      .join('\n')
  expect(words(['pay', 'receive', 'hold-invoices'])).toMatch(/sell in atomic mode/)
  expect(words(['pay', 'receive'])).toMatch(/on credit only/)
  expect(words(['receive'])).toMatch(/can only be paid/)
  expect(words(['pay', 'budget'])).toMatch(/Tells its budget/)
  expect(words(['pay'])).toMatch(/Tells no budget.*refused/)
  for (const money of ['bitcoin', 'regtest:ab'] as const)
    expect(words(['pay'], money)).toMatch(/below one sat may be rounded up/)
  expect(words(['pay'], 'sandbox:ab')).toMatch(/to a thousandth/)
})

test('whose sats are real is said in plain words', () => {
  expect(moneyInWords('bitcoin')).toMatch(/real sats, over Lightning/)
  for (const money of ['testnet', 'regtest:ab'] as const) expect(moneyInWords(money)).toMatch(/worth nothing/)
  expect(moneyInWords('sandbox:ab')).toMatch(/buy nothing outside/)
})
