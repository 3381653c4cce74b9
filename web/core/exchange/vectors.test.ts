/** The published vectors of PROTOCOL.md, accepted and refused, against this implementation. */
import { describe, expect, test } from 'vitest'
import { fromHex, sha256Hex, toHex, type InfoHash, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { provesInto, releaseHeight, releaseIndex } from '../swarm/merkle.ts'
import { paymentHashOf, quoteSecret, windowKey } from './cipher.ts'
import vectors from './exchange.vectors.json' with { type: 'json' }
import { checkProof, decodeProof } from './fraud.ts'
import { decodeMessage, encodeMessage, MessageError, type Message } from './message.ts'
import { parseEvent, readOffer } from './offer.ts'
import { encodeQuote, openQuote, taggedHash, verifyReceipt } from './quote.ts'
import { artifact, leavesOf } from './sample.ts'
import { verifyProof, type Side } from './transcript.ts'

const why = (row: object): string => ('refused' in row ? String(row.refused) : 'accepted')
const named = <T extends object>(rows: readonly T[]): [string, T][] => rows.map((row) => [why(row), row])

describe('exchange.vectors.json', () => {
  test.each(vectors.trees)('tree of $length bytes', ({ length, pieceLength, sha256, root, layer, path }) => {
    const shape = { length, pieceLength }
    const of = artifact(shape)
    expect(sha256Hex(of.bytes)).toBe(sha256)
    expect(of.root).toBe(root)
    expect(toHex(of.layer)).toBe(layer)
    const { piece, block, uncles } = path
    const leaf = leavesOf(of.bytes.subarray(piece * pieceLength)).subarray(block * 32, block * 32 + 32)
    const index = releaseIndex(shape, piece, block)
    expect(provesInto(leaf, index, uncles.map(fromHex), releaseHeight(shape), fromHex(root))).toBe(true)
  })

  test('secret, payment hash and key of a window', () => {
    const { sellerKey, quoteId, secret, paymentHash, key } = vectors.window
    expect(toHex(quoteSecret(fromHex(sellerKey), quoteId as Sha256Hex))).toBe(secret)
    expect(paymentHashOf(fromHex(secret))).toBe(paymentHash)
    expect(toHex(windowKey(fromHex(secret), quoteId as Sha256Hex))).toBe(key)
  })

  test.each(named(vectors.proofs))('proof of keys: %s', (reason, row) => {
    const side = (of: (typeof row)['prover']): Side => ({
      key: of.key as PartyKey,
      nonce: fromHex(of.nonce),
      certificate: fromHex(of.certificate),
      role: of.role as Side['role'],
      ...('floor' in of ? { floor: of.floor as string } : {}),
    })
    const ok = verifyProof(side(row.verifier), side(row.prover), row.root as Sha256Hex, fromHex(row.sig))
    expect(ok).toBe(reason === 'accepted')
  })

  test.each(named(vectors.quotes))('quote: %s', (reason, row) => {
    const opened = openQuote(fromHex(row.bytes), fromHex(row.sig))
    if (reason !== 'accepted') return expect(opened).toBeUndefined()
    const { quote, bytes } = opened as NonNullable<typeof opened>
    const { shape, ...rest } = quote
    expect({ ...rest, ...shape }).toEqual(row.quote)
    expect(encodeQuote(quote)).toEqual(bytes)
    expect(toHex(taggedHash('satpatch/quote', bytes))).toBe(row.digest)
  })

  test.each(named(vectors.receipts))('receipt: %s', (reason, row) => {
    const check = verifyReceipt(row.receipt)
    if (reason === 'accepted') expect(check).toMatchObject({ ok: true, hash: row.hash })
    else expect(check).toEqual({ ok: false, why: reason })
  })

  test.each(named(vectors.frauds))('proof of fraud: %s', (reason, row) => {
    const proof = decodeProof(fromHex(row.proof)) as NonNullable<ReturnType<typeof decodeProof>>
    const { root, length, pieceLength } = row.release
    const check = checkProof(proof, { root: root as Sha256Hex, shape: { length, pieceLength } })
    if (reason === 'accepted') expect(check).toMatchObject({ ok: true, seller: row.seller })
    else expect(check).toEqual({ ok: false, why: reason })
  })

  test.each(named(vectors.frames))('frame: %s', (reason, row) => {
    const frame = fromHex(row.frame)
    if (reason !== 'accepted') return expect(() => decodeMessage(frame)).toThrow(MessageError)
    const message = decodeMessage(frame)
    const { message: expected } = row as { message: object | null }
    if (expected === null) return expect(message).toBeUndefined()
    const shown = Object.entries(message as Message).map(([key, value]) => [
      key,
      value instanceof Uint8Array ? toHex(value) : (value as unknown),
    ])
    expect(Object.fromEntries(shown)).toEqual(expected)
    expect(encodeMessage(message as Message)).toEqual(frame)
  })

  test.each(named(vectors.offers))('offer: %s', (reason, row) => {
    const event = parseEvent(row.event)
    const offer = event === undefined ? undefined : readOffer(event, row.infoHash as InfoHash)
    if (reason === 'accepted') expect(offer).toEqual(row.offer)
    else expect(offer).toBeUndefined()
  })
})
