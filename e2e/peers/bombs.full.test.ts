/** Bencode made to hurt its reader, in the extension's frames, over real WebRTC: the wire ends, the seller goes on selling. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { utf8, type Bytes } from '../../web/core/bytes.ts'
import { FRAME } from '../../web/core/exchange/message.ts'
import { Arena, until } from './arena.ts'
import { rawPeer } from './raw-peer.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open(2)
})
afterEach(() => arena.close())

test.each<[string, () => Bytes]>([
  ['lists in lists', () => utf8('l'.repeat(FRAME))],
  ['dictionaries in dictionaries', () => utf8('d1:a'.repeat(FRAME / 4))],
  ['a number of a frame’s length', () => utf8(`i${'9'.repeat(FRAME - 2)}e`)],
  ['a text that is said to have gigabytes', () => utf8('d1:t9999999999:x')],
  ['as many items as fit', () => utf8(`d1:tl${'0:'.repeat(FRAME / 2 - 4)}ee`)],
])('bencode bombs: %s end the wire, and an honest device buys all the same', async (_, bomb) => {
  const seller = await arena.seller()
  await rawPeer(arena, {
    onFrame: () => undefined,
    onExtension: (wire) => void wire.extended('satpatch', bomb()),
  })
  const drops = await until(seller.drops, (list) => list.length > 0)
  expect(drops[0]).toMatch(/does not fit|too long/)
  const device = await arena.device()
  await device.download.complete
  expect(device.download.get().have).toBe(arena.meta.pieces)
})
