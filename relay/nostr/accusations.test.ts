/** Proofs of fraud at the relay, over real sockets. */
import { expect, test } from 'vitest'
import { concat, toHex, type InfoHash, type VendorId } from '../../web/core/bytes.ts'
import { accusationEvent, contentOf } from '../../web/core/exchange/accusation.ts'
import { encodeProof, MAX_PROOF_BYTES, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { MAX_QUOTE_BYTES, signQuote } from '../../web/core/exchange/quote.ts'
import { artifact, BLOCK, bytes32, party, proofOf, sell } from '../../web/core/exchange/sample.ts'
import { publicKey, signEvent, type NostrEvent, type SecretKey } from '../../web/core/nostr/event.ts'
import { FRAUD_PROOF } from '../../web/core/nostr/kinds.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { MAX_FRAME_BYTES } from '../../web/edge/nostr/wire.ts'
import { afterTest, relay } from '../fixture.ts'
import { nostrLimits } from './relay.ts'

const of = artifact({ length: 5 * BLOCK, pieceLength: 4 * BLOCK })
const parties = { buyer: party('buyer'), seller: party('seller') }
const sold = sell(of, [0], parties, { spoil: (plain) => void (plain[0] = 99) })
const proof = proofOf(of, sold, 0, 0)
const vendor = toHex(bytes32('vendor')) as VendorId
const infoHash = 'ab'.repeat(20) as InfoHash
const author = (n: number): SecretKey => new Uint8Array(32).fill(n)

const accuse = (of: Uint8Array, accused = parties.seller.key, secret = author(1)): NostrEvent =>
  signEvent(
    accusationEvent({
      accused,
      vendor,
      infoHash,
      content: contentOf(of),
      createdAtS: Math.floor(Date.now() / 1000),
    }),
    secret,
    new Uint8Array(32),
  )

async function open() {
  const running = await relay()
  const pool = createPool([`${running.url.replace('http', 'ws')}/nostr`], { random: () => 0 })
  afterTest(() => pool.close())
  const stored = (): Promise<NostrEvent[]> =>
    new Promise((resolve) => {
      const events: NostrEvent[] = []
      const end = pool.subscribe([{ kinds: [FRAUD_PROOF], '#i': [vendor] }], (event) => events.push(event), {
        unverified: true,
        onEose: () => {
          resolve(events)
          queueMicrotask(() => end())
        },
      })
    })
  return { pool, stored }
}

test('a proof is kept and handed out; the same author’s next word about the key is taken as told', async () => {
  const { pool, stored } = await open()
  const first = accuse(encodeProof(proof))
  await pool.publish(first)
  await pool.publish({ ...first })
  const again = proofOf(of, sold, 0, 1)
  await pool.publish(accuse(encodeProof(again)))
  await pool.publish(accuse(encodeProof(proof), parties.seller.key, author(2)))
  const ids = (await stored()).map((event) => event.pubkey)
  expect(ids.sort()).toEqual([publicKey(author(1)), publicKey(author(2))].sort())
})

test.each<[string, () => NostrEvent, RegExp]>([
  ['no proof', () => accuse(new Uint8Array(100)), /not a proof/],
  [
    'a receipt that the key did not sign',
    () => accuse(encodeProof({ ...proof, receipt: { ...proof.receipt, sig: '00'.repeat(64) } })),
    /did not sign/,
  ],
  ['another key', () => accuse(encodeProof(proof), parties.buyer.key), /did not sign/],
  [
    'another preimage',
    () => accuse(encodeProof({ ...proof, receipt: { ...proof.receipt, preimage: '00'.repeat(32) } })),
    /not a proof/,
  ],
  [
    'no names',
    () =>
      signEvent(
        { kind: FRAUD_PROOF, created_at: 1, tags: [], content: contentOf(encodeProof(proof)) },
        author(1),
        new Uint8Array(32),
      ),
    /names the key/,
  ],
  ['too much', () => accuse(new Uint8Array(MAX_PROOF_BYTES)), /./],
])('%s is refused', async (_, make, why) => {
  const { pool, stored } = await open()
  await expect(pool.publish(make())).rejects.toThrow(why)
  expect(await stored()).toEqual([])
})

test('the largest proof that there can be fits into a frame', async () => {
  const { pool } = await open()
  const quote = { ...sold.signed.quote, invoice: 'l' }
  const room = MAX_QUOTE_BYTES - signQuote(quote, parties.seller.secret, bytes32('a')).bytes.length - 10
  const signed = signQuote({ ...quote, invoice: 'l'.repeat(room) }, parties.seller.secret, bytes32('a'))
  expect(signed.bytes.length).toBeGreaterThan(MAX_QUOTE_BYTES - 20)
  const path = (steps: number) => Array.from({ length: steps }, () => bytes32('uncle'))
  const largest: FraudProof = {
    ...proof,
    receipt: { ...proof.receipt, quote: toHex(signed.bytes), sig: toHex(signed.sig) },
    cipherPath: path(10),
    releasePath: path(28),
  }
  const event = accuse(encodeProof(largest))
  expect(JSON.stringify(['EVENT', event]).length).toBeLessThan(MAX_FRAME_BYTES)
  await pool.publish(event)
})

test('one address brings so many and no more', async () => {
  const { pool } = await open()
  const sent = Array.from({ length: nostrLimits.accusationsPerDay + 1 }, (_, i) => {
    const secret = concat(new Uint8Array(30).fill(7), new Uint8Array([i >> 8, i & 255])) as SecretKey
    return accuse(encodeProof(proof), parties.seller.key, secret)
  })
  const results = await Promise.allSettled(sent.map((event) => pool.publish(event)))
  const refused = results.filter((result) => result.status === 'rejected')
  expect(refused).toHaveLength(1)
  expect(String((refused[0] as PromiseRejectedResult).reason)).toMatch(/too many proofs/)
})
