import { expect, test } from 'vitest'
import { nip59 } from 'nostr-tools'
import { eventId, publicKey, signEvent, type SecretKey } from '../../core/nostr/event.ts'
import { decryptFrom, encryptTo } from './nip44.ts'
import { unwrap, wrap } from './nip59.ts'

const key = (byte: number): SecretKey => new Uint8Array(32).fill(byte)
const [alice, bob, mallory] = [key(1), key(2), key(3)]
const aux = new Uint8Array(32)
const rumour = { kind: 1893, created_at: 1_700_000_000, tags: [['i', 'x']], content: '{"v":1}' }

test('only the addressee opens a wrap, and learns its author', () => {
  const event = wrap(rumour, alice, publicKey(bob))
  expect(unwrap(event, bob)).toMatchObject({ ...rumour, pubkey: publicKey(alice) })
  expect(unwrap(event, mallory)).toBeUndefined()
  expect(event.pubkey).not.toBe(publicKey(alice))
})

test('nostr-tools opens our wraps and we open its', () => {
  expect(nip59.unwrapEvent(wrap(rumour, alice, publicKey(bob)), bob)).toMatchObject(rumour)
  const theirs = nip59.wrapEvent(rumour, alice, publicKey(bob))
  expect(unwrap(theirs as Parameters<typeof unwrap>[0], bob)).toMatchObject({ pubkey: publicKey(alice) })
})

test("a rumour with another's name on it is refused", () => {
  const forged = { ...rumour, pubkey: publicKey(alice) }
  const content = encryptTo(mallory, publicKey(bob), JSON.stringify({ ...forged, id: eventId(forged) }))
  const seal = signEvent({ kind: 13, created_at: 1, tags: [], content }, mallory, aux)
  const outer = {
    kind: 1059,
    created_at: 1,
    tags: [['p', publicKey(bob)]],
    content: encryptTo(key(9), publicKey(bob), JSON.stringify(seal)),
  }
  expect(unwrap(signEvent(outer, key(9), aux), bob)).toBeUndefined()
})

test('both ends of a conversation derive the same key, a third does not', () => {
  const payload = encryptTo(alice, publicKey(bob), 'hello')
  expect(decryptFrom(bob, publicKey(alice), payload)).toBe('hello')
  expect(() => decryptFrom(mallory, publicKey(alice), payload)).toThrow()
})
