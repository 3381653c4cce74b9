import fc from 'fast-check'
import * as tiny from 'tiny-secp256k1'
import { expect, test } from 'vitest'
import { pureSecp } from '../core/secp.ts'
import { wasmSecp } from './secp-node.ts'

const wasm = wasmSecp(tiny)
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
const word = (value: bigint) => Uint8Array.from(Buffer.from(value.toString(16).padStart(64, '0'), 'hex'))
/** Ordinary ones, and those around the edges of the field and of the group's order. */
const edges = fc.oneof(
  { weight: 3, arbitrary: bytes32 },
  fc.constantFrom(0n, 1n, N - 1n, N, N + 1n, (1n << 256n) - 1n).map(word),
)
const orThrow = <T>(run: () => T): T | 'throws' => {
  try {
    return run()
  } catch {
    return 'throws'
  }
}

test('makes the same keys and signatures as the pure implementation', () => {
  fc.assert(
    fc.property(edges, bytes32, bytes32, (secret, digest, aux) => {
      for (const run of [
        (of: typeof wasm) => of.publicKey(secret),
        (of: typeof wasm) => of.sign(digest, secret, aux),
        (of: typeof wasm) => of.signRecoverable(digest, secret),
      ])
        expect(orThrow(() => run(wasm))).toEqual(orThrow(() => run(pureSecp)))
    }),
    { numRuns: 40 },
  )
})

test('takes and refuses the same signatures, changed ones and those at the edges too', () => {
  fc.assert(
    fc.property(
      bytes32,
      bytes32,
      fc.option(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 255 }))),
      fc.option(fc.tuple(fc.boolean(), edges)),
      fc.option(edges),
      fc.nat(5),
      (secret, digest, flip, half, key, flag) => {
        fc.pre(orThrow(() => pureSecp.publicKey(secret)) !== 'throws')
        const change = (sig: Uint8Array) => {
          if (flip !== null) sig[flip[0]]! ^= flip[1]
          if (half !== null) sig.set(half[1], half[0] ? 32 : 0)
          return sig
        }
        const of = key ?? pureSecp.publicKey(secret)
        const sig = change(wasm.sign(digest, secret, digest))
        expect(wasm.verify(sig, digest, of)).toBe(pureSecp.verify(sig, digest, of))
        const recoverable = change(wasm.signRecoverable(digest, secret))
        if (flag > 0) recoverable[64] = flag - 1
        expect(wasm.recover(recoverable, digest)).toEqual(pureSecp.recover(recoverable, digest))
      },
    ),
    { numRuns: 60 },
  )
})

test('answers false to lengths that fit nothing', () => {
  const key = wasm.publicKey(new Uint8Array(32).fill(7))
  const digest = new Uint8Array(32)
  for (const of of [wasm, pureSecp]) {
    expect(of.verify(new Uint8Array(63), digest, key)).toBe(false)
    expect(of.verify(of.sign(digest, new Uint8Array(32).fill(7), digest), digest, key.subarray(1))).toBe(
      false,
    )
    expect(of.recover(new Uint8Array(64), digest)).toBeUndefined()
  }
})
