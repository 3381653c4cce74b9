import { describe, expect, test } from 'vitest'
import { toHex, type Sha256Hex } from '../bytes.ts'
import { bytes32, party } from './sample.ts'
import { fingerprintOf, prove, verifyProof, type Side } from './transcript.ts'

const root = toHex(bytes32('root')) as Sha256Hex
const alice = party('alice')
const bob = party('bob')
const mallory = party('mallory')
const side = (of: { key: Side['key'] }, name: string, more: Partial<Side> = {}): Side => ({
  key: of.key,
  nonce: bytes32(`nonce ${name}`),
  role: 'device',
  certificate: bytes32(`certificate ${name}`),
  ...more,
})
const mine = side(alice, 'alice', { floor: '{"a":1}' })
const theirs = side(bob, 'bob', { role: 'distributor' })
/** Bob's word to Alice. */
const sig = prove(theirs, mine, root, bob.secret, bytes32('aux'))

describe('the proof of keys on a wire', () => {
  test('the other side’s proof is accepted', () => {
    expect(verifyProof(mine, theirs, root, sig)).toBe(true)
  })

  test('a middleman who passes hello and proof on is refused: his certificates are others', () => {
    // Alice - Mallory - Bob: each sees Mallory's certificate as the other's.
    const bobSaw = side(alice, 'alice', { floor: '{"a":1}', certificate: bytes32('certificate mallory 2') })
    const relayed = prove(theirs, bobSaw, root, bob.secret, bytes32('aux'))
    const aliceSees = { ...theirs, certificate: bytes32('certificate mallory 1') }
    expect(verifyProof(mine, aliceSees, root, relayed)).toBe(false)
    expect(verifyProof(mine, theirs, root, relayed)).toBe(false)
  })

  test.each<[string, Side, Side]>([
    ['another certificate of the prover', mine, { ...theirs, certificate: bytes32('x') }],
    ['another certificate of the verifier', { ...mine, certificate: bytes32('x') }, theirs],
    ['another nonce of the verifier: a replay', { ...mine, nonce: bytes32('x') }, theirs],
    ['another nonce of the prover', mine, { ...theirs, nonce: bytes32('x') }],
    ['another role', mine, { ...theirs, role: 'vendor' }],
    ['another role of the verifier', { ...mine, role: 'vendor' }, theirs],
    ['another key of the prover', mine, { ...theirs, key: mallory.key }],
    ['made out to another key', { ...mine, key: mallory.key }, theirs],
    ['a floor that was taken out', { ...mine, floor: '' }, theirs],
    ['a floor that was put in', mine, { ...theirs, floor: '{}' }],
  ])('%s is refused', (_, to, from) => {
    expect(verifyProof(to, from, root, sig)).toBe(false)
  })

  test('a proof for another release is refused', () => {
    expect(verifyProof(mine, theirs, toHex(bytes32('other root')) as Sha256Hex, sig)).toBe(false)
  })

  test('our own proof sent back to us is refused, whatever name it comes under', () => {
    const own = prove(mine, theirs, root, alice.secret, bytes32('aux'))
    expect(verifyProof(mine, theirs, root, own)).toBe(false)
    const echo = { ...mine, certificate: theirs.certificate }
    const echoed = prove(mine, echo, root, alice.secret, bytes32('aux'))
    expect(verifyProof(mine, echo, root, echoed)).toBe(false)
    expect(verifyProof(mine, { ...theirs, key: mine.key }, root, own)).toBe(false)
  })

  test('the same nonce on both sides is refused even when it is signed', () => {
    const same = { ...theirs, nonce: mine.nonce }
    expect(verifyProof(mine, same, root, prove(same, mine, root, bob.secret, bytes32('aux')))).toBe(false)
  })

  test('garbage is refused, not thrown', () => {
    expect(verifyProof(mine, theirs, root, new Uint8Array(64))).toBe(false)
    expect(verifyProof(mine, theirs, root, new Uint8Array(3))).toBe(false)
    expect(verifyProof(mine, { ...theirs, key: 'f'.repeat(64) as Side['key'] }, root, sig)).toBe(false)
  })
})

describe('fingerprints of session descriptions (RFC 8122)', () => {
  const hex = Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(2, '0'))
  test.each([
    ['upper case', `v=0\r\na=fingerprint:sha-256 ${hex.join(':').toUpperCase()}\r\na=setup:actpass\r\n`],
    ['lower case', `a=fingerprint:sha-256 ${hex.join(':')}\n`],
  ])('%s is read', (_, sdp) => {
    expect(toHex(fingerprintOf(sdp) as Uint8Array)).toBe(hex.join(''))
  })
  test('the same one in every medium is read', () => {
    const line = `a=fingerprint:sha-256 ${hex.join(':')}\r\n`
    const sdp = `v=0\r\nm=audio 0 UDP/TLS/RTP/SAVPF 111\r\n${line}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n${line.toUpperCase().replace('A=FINGERPRINT:SHA', 'a=fingerprint:sha')}`
    expect(toHex(fingerprintOf(sdp) as Uint8Array)).toBe(hex.join(''))
  })
  test.each([
    ['nothing', ''],
    [
      // A browser connects by that of m=application, wherever it stands.
      'one a medium',
      `m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 ${hex.join(':')}\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=fingerprint:sha-256 ${hex.toReversed().join(':')}\r\n`,
    ],
    ['another hash', `a=fingerprint:sha-1 ${hex.slice(0, 20).join(':')}\r\n`],
    ['31 bytes', `a=fingerprint:sha-256 ${hex.slice(1).join(':')}\r\n`],
    ['33 bytes', `a=fingerprint:sha-256 ${hex.join(':')}:00\r\n`],
    ['inside another line', `x a=fingerprint:sha-256 ${hex.join(':')}\r\n`],
  ])('%s gives none', (_, sdp) => {
    expect(fingerprintOf(sdp)).toBeUndefined()
  })
})
