/** TUF specification 1.0.34, section 4.2; Node's own cryptography makes the keys and signatures. */
import {
  constants,
  createPublicKey,
  generateKeyPairSync,
  sign,
  type KeyObject,
  type SignKeyObjectInput,
} from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toHex, utf8 } from '../bytes.ts'
import { hexBytes, readKey, verifySignature, type PublicKeyObject } from './keys.ts'

const pem = (secret: KeyObject): string =>
  createPublicKey(secret).export({ type: 'spki', format: 'pem' }).toString()
const der = (secret: KeyObject): Buffer => createPublicKey(secret).export({ type: 'spki', format: 'der' })

const ed = generateKeyPairSync('ed25519').privateKey
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const pss = (saltLength: number): SignKeyObjectInput => ({
  key: rsa,
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength,
})
const key = (keytype: string, scheme: string, text: string): PublicKeyObject => ({
  keytype,
  scheme,
  keyval: { public: text },
})
const edKey = key('ed25519', 'ed25519', der(ed).subarray(-32).toString('hex'))
const ecKey = key('ecdsa', 'ecdsa-sha2-nistp256', pem(ec))
const rsaKey = key('rsa', 'rsassa-pss-sha256', pem(rsa))

const message = utf8('{"signed":"this"}')
const signatures: readonly (readonly [string, PublicKeyObject, Buffer])[] = [
  ['ed25519', edKey, sign(null, message, ed)],
  ['ecdsa, PEM', ecKey, sign('sha256', message, ec)],
  [
    'ecdsa, hex',
    key('ecdsa', 'ecdsa-sha2-nistp256', der(ec).subarray(-65).toString('hex')),
    sign('sha256', message, ec),
  ],
  ['ecdsa, old type', { ...ecKey, keytype: 'ecdsa-sha2-nistp256' }, sign('sha256', message, ec)],
  ['rsa, salt as long as the hash', rsaKey, sign('sha256', message, pss(32))],
  ['rsa, longest salt', rsaKey, sign('sha256', message, pss(constants.RSA_PSS_SALTLEN_MAX_SIGN))],
]

test.each(signatures)(
  '%s: its signature verifies in either case, of these bytes alone',
  (_, object, signature) => {
    const text = toHex(signature)
    expect(verifySignature(object, text, message)).toBe(true)
    expect(verifySignature(object, text.toUpperCase(), message)).toBe(true)
    expect(verifySignature(object, text, utf8('other'))).toBe(false)
    fc.assert(
      fc.property(fc.nat(signature.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Uint8Array.from(signature)
        changed[at] = (changed[at] ?? 0) ^ flip
        expect(readKey(object)?.verifies(changed, message)).toBe(false)
      }),
      { numRuns: 8 },
    )
  },
)

test.each(signatures)('%s: whatever a signature is, nothing is thrown', (_, object) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      expect(readKey(object)?.verifies(bytes, message)).toBe(false)
    }),
    { numRuns: 20 },
  )
})

test('no other algorithm, salt or type verifies', () => {
  const others: readonly (readonly [PublicKeyObject, Buffer])[] = [
    [rsaKey, sign('sha256', message, pss(20))],
    [rsaKey, sign('sha256', message, rsa)],
    [rsaKey, sign('sha512', message, pss(32))],
    [ecKey, sign('sha512', message, ec)],
    [{ ...ecKey, scheme: 'ed25519' }, sign('sha256', message, ec)],
    [{ ...rsaKey, scheme: 'rsa-pkcs1v15-sha256' }, sign('sha256', message, rsa)],
    [key('__proto__', 'toString', ''), Buffer.alloc(64)],
  ]
  for (const [object, signature] of others)
    expect(verifySignature(object, toHex(signature), message)).toBe(false)
})

test('one key is one key, however it is written', () => {
  const same = (a: PublicKeyObject, b: PublicKeyObject) =>
    expect(readKey(a)?.material).toBe(readKey(b)?.material ?? 'none')
  same(edKey, key('ed25519', 'ed25519', edKey.keyval.public.toUpperCase()))
  same(ecKey, key('ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256', der(ec).subarray(-65).toString('hex')))
  same(rsaKey, key('rsa', 'rsassa-pss-sha256', `\n${rsaKey.keyval.public.replaceAll('\n', '\r\n  ')}`))
  const compressed = createPublicKey(ec).export({ format: 'jwk' })
  const x = Buffer.from(compressed.x ?? '', 'base64url')
  const odd = Buffer.from(compressed.y ?? '', 'base64url').at(-1)! % 2
  same(ecKey, key('ecdsa', 'ecdsa-sha2-nistp256', `0${2 + odd}${x.toString('hex')}`))
})

describe('a key that is none is no key:', () => {
  const bad: Record<string, PublicKeyObject> = {
    'RSA of 1024 bits': key(
      'rsa',
      'rsassa-pss-sha256',
      pem(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey),
    ),
    'RSA with exponent 3': key(
      'rsa',
      'rsassa-pss-sha256',
      pem(generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).privateKey),
    ),
    'another curve': key(
      'ecdsa',
      'ecdsa-sha2-nistp256',
      pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey),
    ),
    'an EC key as RSA': key('rsa', 'rsassa-pss-sha256', pem(ec)),
    'a point that is not on the curve': key('ecdsa', 'ecdsa-sha2-nistp256', `04${'11'.repeat(64)}`),
    'a short key': key('ed25519', 'ed25519', 'ab'.repeat(31)),
    'no hex': key('ed25519', 'ed25519', 'xy'.repeat(32)),
    nothing: key('ecdsa', 'ecdsa-sha2-nistp256', ''),
    'a private key': key(
      'ecdsa',
      'ecdsa-sha2-nistp256',
      ec.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ),
    'far too long': key('ed25519', 'ed25519', 'ab'.repeat(100_000)),
  }
  test.each(Object.entries(bad))('%s', (_, object) => {
    expect(readKey(object)).toBeUndefined()
  })

  test('any change to the DER of a key is another key or none, and never throws', () => {
    const bodies = [der(ec), der(rsa)]
    fc.assert(
      fc.property(fc.nat(1), fc.nat(400), fc.nat(255), fc.nat(3), (which, at, value, cut) => {
        const bytes = Buffer.from(bodies[which]!)
        const changed = bytes[at % bytes.length] !== value || cut > 0
        bytes[at % bytes.length] = value
        const body = bytes.subarray(0, bytes.length - cut).toString('base64')
        const text = `-----BEGIN PUBLIC KEY-----\n${body}\n-----END PUBLIC KEY-----\n`
        const original = which === 0 ? ecKey : rsaKey
        const read = readKey(key(original.keytype, original.scheme, text))
        if (changed) expect(read?.material).not.toBe(readKey(original)?.material)
      }),
      { numRuns: 300 },
    )
  })
})

test('hex is read in pairs, or not at all', () => {
  expect(hexBytes('0aFF')).toEqual(new Uint8Array([10, 255]))
  for (const text of ['', 'a', 'abc', '0x00', 'zz', ' ab']) expect(hexBytes(text)).toBeUndefined()
})
