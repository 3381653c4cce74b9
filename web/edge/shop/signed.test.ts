import { expect, test } from 'vitest'
import { relayOf } from './signed.ts'

test.each([
  ['ws://localhost:8787/nostr', 'http://localhost:8787'],
  ['wss://relay.example/nostr', 'https://relay.example'],
])('the relay of %s answers at %s', (nostr, base) => expect(relayOf(nostr)).toBe(base))
