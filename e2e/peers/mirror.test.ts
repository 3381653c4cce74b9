/** A plain HTTP mirror beside, or in place of, sellers: used as the policy says, proven like anybody, counted apart. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import type { MirrorUse } from '../../web/core/swarm/buyer.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import type { Download } from '../../web/edge/swarm/api.ts'
import { buyPolicy, GRANT, until, type Arena, type Device } from './arena.ts'
import { inArena } from './in-arena.ts'

/** `ranges`: else it answers with the whole file, whatever is asked for. */
async function mirrorOf(
  arena: Arena,
  content: Uint8Array,
  ranges = true,
): Promise<{ url: string; asked: () => number }> {
  let asked = 0
  const server = createServer((request, response) => {
    asked++
    if (!ranges) return response.writeHead(200, { 'content-length': content.length }).end(content)
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? []
    response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${content.length}` })
    return response.end(content.subarray(Number(from), Number(to) + 1))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  arena.onClose(
    () =>
      new Promise<void>((done) => {
        server.closeAllConnections()
        server.close(() => done())
      }),
  )
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/app.bin`, asked: () => asked }
}

async function device(arena: Arena, mirror: MirrorUse, url: string): Promise<Device> {
  const member = await arena.member('device', { full: false, balance: GRANT })
  const download: Download = createDownload({
    ...member,
    policy: { ...buyPolicy, mirror },
    mirrors: [url],
    nowMs: arena.nowMs,
  })
  arena.onClose(() => download.stop())
  await download.start()
  return { ...member, download }
}

test('used always, it brings everything where nobody sells, free and counted', () =>
  inArena(async (arena) => {
    const { url } = await mirrorOf(arena, arena.content)
    const buyer = await device(arena, 'always', url)
    await buyer.download.settled
    expect(arena.intact(buyer)).toBe(true)
    expect(buyer.download.get()).toMatchObject({ paid: 0, sellers: [], mirror: { bytes: arena.meta.length } })
  }))

test('without ranges the file is read once for all pieces, beside a seller too', () =>
  inArena(async (arena) => {
    const { url, asked } = await mirrorOf(arena, arena.content, false)
    const alone = await device(arena, 'always', url)
    await alone.download.settled
    expect(arena.intact(alone)).toBe(true)
    expect(alone.download.get().mirror).toEqual({ bytes: arena.meta.length })
    // The windows that were asked for at first find that there are no ranges.
    expect(asked()).toBeLessThan(alone.download.get().pieces / 2)
    await arena.seller()
    const beside = await device(arena, 'always', url)
    await beside.download.settled
    expect(arena.intact(beside)).toBe(true)
    expect(beside.download.get().boughtTwice).toBe(0)
    expect(asked()).toBeLessThan(alone.download.get().pieces)
  }, 24))

test('as a fall-back it is asked when nobody has sold for a while', () =>
  inArena(async (arena) => {
    const { url, asked } = await mirrorOf(arena, arena.content)
    const buyer = await device(arena, 'fallback', url)
    expect(asked()).toBe(0)
    arena.skip(120_000)
    await buyer.download.settled
    expect(arena.intact(buyer)).toBe(true)
    expect(buyer.download.get().mirror).toEqual({ bytes: arena.meta.length })
  }))

test('never means never: the device waits for a seller', () =>
  inArena(async (arena) => {
    const { url, asked } = await mirrorOf(arena, arena.content)
    const buyer = await device(arena, 'never', url)
    arena.skip(120_000)
    await until(buyer.download, ({ state }) => state.tag === 'looking')
    await arena.seller()
    await buyer.download.settled
    expect(asked()).toBe(0)
    expect(buyer.download.get()).not.toHaveProperty('mirror')
  }))

test('with other bytes it is left, and said so; the rest is bought', () =>
  inArena(async (arena) => {
    const { url } = await mirrorOf(
      arena,
      arena.content.map((byte) => byte ^ 1),
    )
    const buyer = await device(arena, 'always', url)
    await until(buyer.download, ({ mirror }) => mirror?.trouble !== undefined)
    await arena.seller()
    await buyer.download.settled
    expect(arena.intact(buyer)).toBe(true)
    expect(buyer.download.get().mirror).toMatchObject({
      bytes: 0,
      trouble: expect.stringMatching(/other bytes/),
    })
  }))
