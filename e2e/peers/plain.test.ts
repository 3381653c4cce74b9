import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Wire } from '#webtorrent'
import { Arena, until } from './arena.ts'
import { rawPeer } from './raw-peer.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open()
})
afterEach(() => arena.close())

describe('a plain WebTorrent client', () => {
  test('stays choked by a paid seller and by a device, and gets no byte', async () => {
    await arena.seller()
    const wires: Wire[] = []
    const bytes: number[] = []
    const met = new Promise<void>((done) => {
      void rawPeer(arena, {
        onWire: (wire) => {
          wires.push(wire)
          wire.on('download', (count: number) => void bytes.push(count))
          wire.on('bitfield', () => done())
          wire.on('have', () => done())
          wire.on('have-all', () => done())
        },
      })
    })
    await met
    const device = await arena.device()
    await device.download.complete
    expect(wires.length).toBeGreaterThan(0)
    expect(wires.every((wire) => wire.peerChoking)).toBe(true)
    expect(bytes).toEqual([])
  })

  test('that gives is taken from, and what it gives is proven', async () => {
    await rawPeer(arena, { content: arena.content })
    const device = await arena.device()
    await device.download.complete
    expect(arena.intact(device)).toBe(true)
    expect(device.download.get().paid).toBe(0)
  })

  test('that gives wrong bytes is dropped; nothing of it is kept', async () => {
    await rawPeer(arena, { content: new Uint8Array(arena.content.length).fill(1) })
    const device = await arena.device()
    await until(device.drops, (drops) => drops.some((why) => /not the release/.test(why)))
    expect(device.download.get().have).toBe(0)
    await arena.seller()
    await device.download.complete
    expect(arena.intact(device)).toBe(true)
  })
})
