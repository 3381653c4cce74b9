import fc from 'fast-check'
import { expect, test } from 'vitest'
import { composeConnection } from './connection.ts'
import { MAX_PASTED_CHARS, recognise } from './pasted.ts'

const connection = composeConnection({
  wallet: 'b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4',
  relays: ['wss://relay.example.com'],
  secret: '71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c',
})
const invoice = 'lnbcrt10n1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypq'
/** LUD-01's own example. */
const LNURL =
  'LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS'

test.each([
  ['', 'nothing'],
  [' \n', 'nothing'],
  [connection, 'connection'],
  [` ${connection}\n`, 'connection'],
  [connection.slice(0, -4), 'damaged-connection'],
  [connection.replace(/secret=.*/, `secret=${'0'.repeat(64)}`), 'damaged-connection'],
  [connection.replace(/secret=.*/, `secret=${'f'.repeat(64)}`), 'damaged-connection'],
  [invoice, 'invoice'],
  [`lightning:${invoice.toUpperCase()}`, 'invoice'],
  [`bitcoin:bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4?amount=1&lightning=${invoice}`, 'invoice'],
  ['Alice@getalby.com', 'lightning-address'],
  [LNURL, 'lnurl'],
  ['lnurlp://pay.example/bob', 'lnurl'],
  ['LNURL1DP68GURN8GHJ7', 'lnurl-other'],
  ['lnurlw://pay.example/bob', 'lnurl-other'],
  ['lno1qgsqvgnwgcg35z6ee2h3yczraddm72xrfua9uve2rlrm9deu7xyfzrc', 'bolt12'],
  ['cashuAeyJ0b2tlbiI6W3sicHJvb2ZzIjpbXX1dfQ', 'ecash'],
  ['lndhub://login:password@https://hub.example', 'lndhub'],
  ['lndconnect://node.example:10009?macaroon=AgED', 'node'],
  [`${'02'.repeat(33)}@node.example:9735`, 'node'],
  ['wss://relay.example.com', 'relay'],
  ['legal winner thank year wave sausage worth useful legal winner thank yellow', 'recovery-words'],
  ['legal winner thank year', 'unknown'],
  ['nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5', 'secret-key'],
  ['npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9', 'public-key'],
  ['spjoin1qqqq', 'join-code'],
  ['spstore1qqqq', 'store-code'],
  ['http://localhost:8787/shop#store=spstore1qqqq', 'store-code'],
  ['{\n  "format": "satpatch vendor keys"', 'key-backup'],
  ['nostr+walletauth://abc', 'wallet-auth'],
  ['bunker://abc?relay=wss://x', 'signer'],
  ['bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4', 'bitcoin-address'],
  ['https://getalby.com', 'web-page'],
  ['my wallet', 'unknown'],
])('%s is recognised as %s', (text, tag) => expect(recognise(text).tag).toBe(tag))

test('a connection comes with its client key; the secret is never the key', () => {
  const found = recognise(connection)
  if (found.tag !== 'connection') throw new Error(found.tag)
  expect(found.client).toMatch(/^[0-9a-f]{64}$/)
  expect(connection).not.toContain(found.client)
})

test('no text makes it throw, and a long one is not looked at', () => {
  fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => recognise(text).tag !== undefined))
  expect(recognise(connection + ' '.repeat(5) + 'x'.repeat(MAX_PASTED_CHARS)).tag).toBe('unknown')
})

test('an LNURL is read as LUD-01 says', () => {
  expect(recognise(LNURL)).toEqual({
    tag: 'lnurl',
    url: 'https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df',
  })
})
