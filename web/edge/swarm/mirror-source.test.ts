import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { MirrorError, readMirror, readWhole } from './mirror-source.ts'

const content = Uint8Array.from({ length: 100_000 }, (_, i) => i * 31 + (i >> 8))
const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer)
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/app.bin`
}
const ranges = (
  request: IncomingMessage,
  response: ServerResponse,
  total: number | string = content.length,
): void => {
  const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? []
  response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${total}` })
  response.end(content.subarray(Number(from), Number(to) + 1))
}
const read = (url: string, offset: number, bytes: number, silenceMs = 5000) =>
  readMirror({ url, length: content.length, fetch: globalThis.fetch, silenceMs }, offset, bytes)
const trouble = async (url: string, silenceMs?: number): Promise<string> => {
  try {
    await read(url, 1000, 500, silenceMs)
  } catch (error) {
    if (error instanceof MirrorError) return error.trouble
    throw error
  }
  return 'none'
}

describe('an HTTP mirror', () => {
  test('with ranges gives just the range', async () => {
    const url = await serve((request, response) => ranges(request, response))
    expect(await read(url, 70_000, 30_000)).toEqual(content.slice(70_000))
  })

  test('without ranges is read once, piece by piece, at any chunking, and no further than is wanted', async () => {
    let served = 0
    const url = await serve((_request, response) => {
      served++
      response.writeHead(200, { 'content-length': content.length })
      for (let at = 0; at < content.length; at += 777) response.write(content.subarray(at, at + 777))
      response.end()
    })
    expect(await trouble(url)).toBe('whole only')
    expect(await read(url, 0, content.length)).toEqual(content.slice())
    const from = { url, length: content.length, fetch: globalThis.fetch }
    const pieces: Uint8Array[] = []
    const keep = (piece: number, bytes: Uint8Array): number => (pieces[piece] = bytes).length
    served = 0
    await readWhole(from, 16_384, (...piece) => Promise.resolve(keep(...piece) > 0))
    expect(served).toBe(1)
    expect(pieces.map(({ length }) => length)).toEqual([16384, 16384, 16384, 16384, 16384, 16384, 1696])
    expect(Buffer.concat(pieces)).toEqual(Buffer.from(content))
    pieces.length = 0
    await readWhole(from, 16_384, (piece, bytes) => Promise.resolve(keep(piece, bytes) > 0 && piece < 2))
    expect(pieces).toHaveLength(3)
    const short = await serve((_, response) => response.end(content.subarray(0, 20_000)))
    const cut = { ...from, url: short, length: 20_001 }
    await expect(readWhole(cut, 16_384, () => Promise.resolve(true))).rejects.toThrow(MirrorError)
  })

  test('that is of another length, cut short, gone, broken or lying about its range is told apart', async () => {
    const answers: [string, (request: IncomingMessage, response: ServerResponse) => void][] = [
      ['other file', (request, response) => ranges(request, response, 99)],
      ['wrong length', (_, response) => response.writeHead(200, { 'content-length': 3 }).end('abc')],
      ['other file', (_, response) => response.writeHead(416).end()],
      [
        'wrong length',
        (_, response) => {
          response.writeHead(206, { 'content-range': 'bytes 1000-1499/*', 'transfer-encoding': 'chunked' })
          response.end(content.subarray(1000, 1200))
        },
      ],
      ['not found', (_, response) => response.writeHead(404).end()],
      ['status', (_, response) => response.writeHead(503).end()],
      [
        'no ranges',
        (_, response) => response.writeHead(206, { 'content-range': 'bytes 0-499/100000' }).end('x'),
      ],
    ]
    for (const [expected, answer] of answers) expect(await trouble(await serve(answer))).toBe(expected)
  })

  test('that falls silent is given up', async () => {
    expect(await trouble(await serve(() => undefined), 50)).toBe('too slow')
    const half = await serve((_, response) => {
      response.writeHead(206, { 'content-range': 'bytes 1000-1499/100000' })
      response.write(content.subarray(1000, 1100))
    })
    expect(await trouble(half, 50)).toBe('too slow')
  })

  test('may redirect, but not for ever, and not away from HTTP', async () => {
    const target = await serve((request, response) => ranges(request, response))
    const once = await serve((_, response) => response.writeHead(302, { location: target }).end())
    expect(await trouble(once)).toBe('none')
    const loop: string = await serve((_, response) => response.writeHead(302, { location: '/app.bin' }).end())
    expect(await trouble(loop)).toBe('redirects')
    const away = await serve((_, response) =>
      response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    )
    expect(await trouble(away)).toBe('redirects')
  })

  test('that nobody answers at is unreachable', async () => {
    const url = await serve((_, response) => response.end())
    for (const close of closing.splice(0)) close()
    expect(await trouble(url)).toBe('unreachable')
  })
})
