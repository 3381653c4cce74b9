import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { concat, toHex, type Bytes, type PartyKey } from '../../web/core/bytes.ts'
import { encode } from '../../web/core/exchange/bencode.ts'
import { decodeMessage, encodeMessage, FRAME, type Message } from '../../web/core/exchange/message.ts'
import { Arena, until } from './arena.ts'
import { rawPeer, type RawPeer } from './raw-peer.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open(2)
})
afterEach(() => arena.close())

const hello = (root = arena.meta.piecesRoot): Message => ({
  t: 'hello',
  key: toHex(new Uint8Array(32).fill(2)) as PartyKey,
  nonce: new Uint8Array(32).fill(3),
  role: 'distributor',
  root,
})

describe('a wire', () => {
  test('a middleman who passes every frame on is refused by both sides, and nothing is paid', async () => {
    const beyond = await arena.beside()
    arena.onClose(() => beyond.close())
    const passed: string[] = []
    const passOn = (to: () => RawPeer) => (frame: Uint8Array) => {
      passed.push(decodeMessage(frame)?.t ?? '?')
      to().send(frame)
    }
    const near = await rawPeer(arena, { onFrame: passOn(() => far), onlyAnswers: true })
    const far = await rawPeer(beyond, { onFrame: passOn(() => near), onlyAnswers: true })
    const seller = await beyond.seller()
    const device = await arena.device()
    const refused = (why: string) => why === 'did not prove its key'
    await Promise.race([
      until(device.drops, (drops) => drops.some(refused)),
      until(seller.drops, (drops) => drops.some(refused)),
    ])
    expect(passed).toContain('hello')
    expect(passed).toContain('prove')
    expect(device.session.proven()).toHaveLength(0)
    expect(seller.session.proven()).toHaveLength(0)
    expect(device.download.get().have).toBe(0)
    expect(seller.shop.get().uploadedBytes).toBe(0)
  })

  const padded = (length: number): Bytes =>
    concat(encode({ t: 'data', id: 1, at: 0 }), new Uint8Array(length))
  test.each<[string, RegExp, () => Bytes[]]>([
    ['garbage', /does not fit/, () => [new Uint8Array([0xff, 0, 1])]],
    ['a frame past its bound', /frame too long/, () => [new Uint8Array(FRAME + 1025)]],
    ['a frame of 200 KiB', /frame too long/, () => [new Uint8Array(200 * 1024)]],
    ['a payload past its bound', /does not fit/, () => [padded(FRAME + 1)]],
    [
      'a request before its proof',
      /before its proof/,
      () => [encodeMessage({ t: 'request', id: 1, pieces: [0] })],
    ],
    [
      'an offer after hello, before its proof',
      /before its proof/,
      () => [encodeMessage(hello()), encodeMessage({ t: 'offer', event: '{}', gift: true })],
    ],
    ['hello twice', /hello twice/, () => [encodeMessage(hello()), encodeMessage(hello())]],
    [
      'another release',
      /another release root/,
      () => [encodeMessage(hello('0'.repeat(64) as Arena['meta']['piecesRoot']))],
    ],
    [
      'a proof that is none',
      /did not prove/,
      () => [encodeMessage(hello()), encodeMessage({ t: 'prove', sig: new Uint8Array(64) })],
    ],
  ])('%s ends it', async (_, why, frames) => {
    const seller = await arena.seller()
    await rawPeer(arena, {
      onFrame: () => undefined,
      onExtension: (wire) => {
        for (const frame of frames()) wire.extended('satpatch', frame)
      },
    })
    const drops = await until(seller.drops, (list) => list.length > 0)
    expect(drops[0]).toMatch(why)
    expect(seller.session.proven()).toHaveLength(0)
    expect(seller.shop.get().uploadedBytes).toBe(0)
  })
})
