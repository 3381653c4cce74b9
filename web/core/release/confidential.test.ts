import { base64 } from '@scure/base'
import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import { toHex, type PartyKey, type Sha256Hex } from '../bytes.ts'
import { encode } from '../exchange/bencode.ts'
import { readReleases } from './announce.ts'
import { changesOf } from './changes.ts'
import { buildKeysFile, entryName, keysPathOf, plainOf, readKeysFile, type KeyEntry } from './confidential.ts'
import type { Proposal, Published } from './proposal.ts'
import { buildTargets } from './repository.ts'
import { MAX_KEYS_BYTES, targetCustomSchema } from './target.ts'
import { testEntry } from './test-repository.ts'
import type { TargetsSigned } from './tuf.ts'

const sender = 'ab'.repeat(32) as PartyKey
const of = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const entry = fc.record({ name: of(16), payload: of(131).map((bytes) => base64.encode(bytes)) })
const entries = fc.uniqueArray(entry, { selector: ({ name }) => toHex(name), maxLength: 40 })

describe('the list of wrapped keys', () => {
  test('gives each its own payload, in whatever order it was made, and nobody else any', () => {
    fc.assert(
      fc.property(entries, of(16), (list, stranger) => {
        const bytes = buildKeysFile(sender, list)
        expect(buildKeysFile(sender, list.toReversed())).toEqual(bytes)
        const read = readKeysFile(bytes)
        expect(read).toMatchObject({ sender, readers: list.length })
        for (const { name, payload } of list) expect(read?.find(name)).toBe(payload)
        const known = list.some(({ name }) => toHex(name) === toHex(stranger))
        expect(read?.find(stranger) === undefined).toBe(!known)
      }),
    )
  })

  test('garbage, torn and changed lists are no lists, or answer without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(() => readKeysFile(bytes)?.find(new Uint8Array(16))).not.toThrow()
      }),
    )
    fc.assert(
      fc.property(entries, fc.nat(), (list, cut) => {
        const bytes = buildKeysFile(sender, list)
        expect(readKeysFile(bytes.subarray(0, cut % bytes.length))).toBeUndefined()
      }),
    )
    const [a, b] = [new Uint8Array(147).fill(1), new Uint8Array(147).fill(2)]
    const list = (...rows: Uint8Array[]) =>
      encode({ e: Uint8Array.from(rows.flatMap((row) => [...row])), f: new Uint8Array(32), v: 1 })
    expect(readKeysFile(list(a, b))).toBeDefined()
    expect(readKeysFile(list(b, a))).toBeUndefined()
    expect(readKeysFile(list(a, a))).toBeUndefined()
    expect(readKeysFile(new Uint8Array(MAX_KEYS_BYTES + 1))).toBeUndefined()
  })

  test('takes no payload of another length', () => {
    const wrong: KeyEntry = { name: new Uint8Array(16), payload: base64.encode(new Uint8Array(99)) }
    expect(() => buildKeysFile(sender, [wrong])).toThrow(RangeError)
  })

  test('names depend on the conversation alone', () => {
    const [one, two] = [entryName(new Uint8Array(32).fill(1)), entryName(new Uint8Array(32).fill(2))]
    expect(one).toHaveLength(16)
    expect(toHex(one)).toBe('563baadead9dad7ec4fc200d83d2b1b9')
    expect(toHex(two)).not.toBe(toHex(one))
  })
})

describe('confidential releases in targets', () => {
  const plain = 'cd'.repeat(32) as Sha256Hex
  const open = testEntry('1.0')
  const keys = { path: keysPathOf(open.path), bytes: 400, sha256: 'ef'.repeat(32) as Sha256Hex }
  const encrypted = { cipher: 'AES-256-CTR', sha256: plain, bytes: open.bytes, keys: keys.path } as const
  const entryWith = (more: object = {}) => ({
    ...open,
    custom: v.parse(targetCustomSchema, { ...open.custom, encrypted: { ...encrypted, ...more } }),
  })
  const read = (entry: ReturnType<typeof entryWith> & { keys?: typeof keys }) => {
    const { targets } = buildTargets({ version: 3, nowMs: 0, targets: [entry] })
    return readReleases(Object.entries(targets), 3)
  }

  test('come with their list, which is no target left out; what is installed is the plain artifact', () => {
    const { releases, skipped } = read({ ...entryWith(), keys })
    expect(skipped).toEqual([])
    const [release] = releases
    if (!release) throw new Error('no release')
    expect(release).toMatchObject({ sha256: open.sha256, confidential: { sha256: plain, keys } })
    expect(plainOf(release)).toMatchObject({ path: open.path, sha256: plain, bytes: open.bytes })
    expect(plainOf(release).piecesRoot).toBe(release.piecesRoot)
  })

  test.each([
    ['whose list is not signed', entryWith(), /list of its keys is missing/],
    ['whose list is endless', { ...entryWith(), keys: { ...keys, bytes: MAX_KEYS_BYTES + 1 } }, /too long/],
    [
      'whose length changes',
      { ...entryWith({ bytes: open.bytes + 1 }), keys },
      /would not change its length/,
    ],
  ])('are left out %s', (_name, entry, why) => {
    const { releases, skipped } = read(entry)
    expect(releases).toEqual([])
    expect(skipped.find(({ path }) => path === open.path)?.why).toMatch(why)
  })

  test('with a cipher that this version does not know are left out, never installed as they are', () => {
    const { targets } = buildTargets({ version: 3, nowMs: 0, targets: [{ ...entryWith(), keys }] })
    const text = JSON.stringify(targets).replace('AES-256-CTR', 'ROT13')
    const { releases } = readReleases(Object.entries(JSON.parse(text) as typeof targets), 3)
    expect(releases).toEqual([])
  })

  test('are told in sentences: what is released, and who can read it from now on', () => {
    const targets = (...list: Parameters<typeof buildTargets>[0]['targets']) =>
      buildTargets({ version: 3, nowMs: 0, targets: list })
    const texts = (before: TargetsSigned, after: TargetsSigned) => {
      const delegated = new Map()
      const now = { targets: { signed: before }, delegated } as unknown as Published
      const next = { targets: { signed: after }, delegated } as unknown as Proposal
      return changesOf(now, next).map(({ text }) => text)
    }
    const first = targets({ ...entryWith(), keys })
    const again = targets({ ...entryWith(), keys: { ...keys, sha256: '12'.repeat(32) as Sha256Hex } })
    const name = `${open.custom.product} ${open.custom.version}`
    expect(texts(targets(), first)).toEqual([
      `${name} is released: ${open.bytes} bytes, SHA-256 ${open.sha256}, encrypted; decrypted, SHA-256 ${plain}.`,
    ])
    expect(texts(first, again)).toEqual([`Who can read ${name} is changed.`])
    expect(texts(first, first)).toEqual([])
    expect(texts(first, targets())).toEqual([`${name} is withdrawn.`])
  })
})
