import { describe, expect, test } from 'vitest'
import { toHex } from '../bytes.ts'
import { composeConnection, parseConnection } from './connection.ts'

const wallet = 'b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4'
const secret = '71a8c14c1407c113601079c4302dab36460f0ccd0ad506f1f2dc73b5100e4f3c'
const uri = `nostr+walletconnect://${wallet}?relay=wss%3A%2F%2Frelay.example.com&secret=${secret}`

describe('a wallet connection', () => {
  test('is read as NIP-47 writes it, and written so that it is read', () => {
    const parsed = parseConnection(uri)
    if (!parsed.ok) throw new Error(parsed.message)
    expect(parsed.connection).toMatchObject({ wallet, relays: ['wss://relay.example.com'] })
    expect(toHex(parsed.connection.secret)).toBe(secret)
    const two = {
      wallet,
      relays: ['wss://a.example/x?y=1&z=2', 'ws://127.0.0.1:8787/nostr'],
      secret,
      lud16: 'a@b.c',
    }
    expect(parseConnection(composeConnection(two))).toMatchObject({
      ok: true,
      connection: { wallet, relays: two.relays, lud16: 'a@b.c' },
    })
  })

  test.each([
    ['before the colon', `a${secret}:`],
    ['as the relay', uri.replace(/relay=[^&]*/, `relay=${secret}`)],
    ['behind a scheme that is none', `no${secret}nostr+walletconnect://${wallet}?secret=${secret}`],
  ])('a secret in the wrong place is not repeated: %s', (_, pasted) => {
    const parsed = parseConnection(pasted)
    expect(parsed.ok ? '' : parsed.message).toMatch(/./)
    expect(!parsed.ok && parsed.message).not.toContain(secret.slice(0, 24))
  })

  test.each([
    ['spaces around it', ` ${uri}\n`],
    ['the old scheme', uri.replace('nostr+', 'nostr')],
    ['no slashes', uri.replace('//', '')],
    [
      'upper case',
      uri.replace('nostr+walletconnect', 'NOSTR+WALLETCONNECT').replace(wallet, wallet.toUpperCase()),
    ],
    ['two relays', `${uri}&relay=wss://b.example&relay=wss://b.example`],
  ])('is read with %s', (_, text) => expect(parseConnection(text).ok).toBe(true))

  test.each([
    ['nothing', '  ', /Nothing was pasted/],
    ['a cut-off secret', uri.slice(0, -3), /secret has 61 characters instead of 64/],
    ['a letter that is not hex', uri.slice(0, -1) + 'g', /secret contains characters other than/],
    ['no secret', uri.split('&')[0], /no secret/],
    ['a cut-off wallet key', uri.replace(wallet, wallet.slice(1)), /wallet's key has 63/],
    ['no wallet key', uri.replace(wallet, ''), /wallet's key is missing/],
    ['no relay', uri.replace(/relay=[^&]*&/, ''), /names no relay/],
    [
      'a relay that is a page',
      uri.replace('wss', 'https'),
      /"https:\/\/relay.example.com" is not the address/,
    ],
    ['a relay that is nonsense', uri.replace(/relay=[^&]*/, 'relay=%20'), /is not the address of a relay/],
    [
      'too many relays',
      uri + Array.from({ length: 9 }, (_, i) => `&relay=wss://${i}.example`).join(''),
      /more than 8/,
    ],
    ['an invoice', 'lnbc25m1pvjluezpp5qqq', /This is an invoice/],
    ['an invoice as a link', 'lightning:LNBCRT10N1PVJLUEZPP5', /This is an invoice/],
    ['an lnurl', 'LNURL1DP68GURN8GHJ7', /LNURL/],
    ['a Lightning address', 'alice@getalby.com', /Lightning address/],
    ['a bunker', 'bunker://abc?relay=wss://x', /remote signer/],
    ['a request for a connection', 'nostr+walletauth://abc', /asks a wallet for a connection/],
    ['a Nostr key', 'nsec1abcdef', /Nostr key/],
    ['a Bitcoin address', 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4', /Bitcoin address/],
    ['a link', 'https://getalby.com', /does not start with "https:"/],
    ['words', 'my wallet', /not a wallet connection/],
    ['a book', 'nostr+walletconnect://' + 'a'.repeat(5000), /too long/],
  ])('%s is refused in words', (_, text = '', says) => {
    const parsed = parseConnection(text)
    if (parsed.ok) throw new Error('was accepted')
    expect(parsed.message).toMatch(says)
    expect(parsed.message).not.toContain(secret.slice(0, 20))
  })
})
