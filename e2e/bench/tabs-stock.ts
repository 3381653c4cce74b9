/** Stock webtorrent as the free opponent: everything at its defaults but what would leave this machine. */
import { toHex, type Bytes } from '../../web/core/bytes.ts'
import { STOCK_OPTIONS } from './stock-options.ts'
import { connectedMs } from './tabs-connected.ts'
import type { Platform } from './tabs-end.ts'

type StockTorrent = {
  readonly torrentFile: Uint8Array
  on(event: string, run: (...values: never[]) => void): void
  once(event: string, run: (...values: never[]) => void): void
}
export type StockClient = {
  on(event: 'error', run: (error: Error) => void): void
  add(torrent: Uint8Array, options: object): StockTorrent
  seed(source: unknown, options: object, ready: (torrent: StockTorrent) => void): StockTorrent
}
export type StockClass = new (options: object) => StockClient

export function stock(Client: StockClass, source: () => unknown): Pick<Platform, 'stockSeed' | 'stockGet'> {
  return {
    stockSeed: (tracker, store) =>
      new Promise((done, fail) => {
        const client = new Client(STOCK_OPTIONS)
        client.on('error', fail)
        client.seed(source(), { name: 'artifact', announce: [tracker], ...storeOf(store) }, (torrent) =>
          done(toHex(torrent.torrentFile)),
        )
      }),
    stockGet: (torrent, tracker, store) =>
      new Promise((done, fail) => {
        const client = new Client(STOCK_OPTIONS)
        client.on('error', fail)
        const startedMs = performance.now()
        const getting = client.add(torrent, {
          announce: [tracker],
          ...storeOf(store),
        })
        getting.once('done', () => {
          const nowMs = performance.now()
          done({ transferMs: nowMs - connectedMs(), totalMs: nowMs - startedMs })
        })
      }),
  }
}

const storeOf = (store: 'memory' | 'disk'): object => (store === 'memory' ? { store: MemoryStore } : {})

type Done = (error: Error | null, bytes?: Uint8Array) => void

/** The smallest abstract-chunk-store: pieces in a list. */
class MemoryStore {
  readonly chunkLength: number
  readonly #pieces: Bytes[] = []
  constructor(chunkLength: number) {
    this.chunkLength = chunkLength
  }
  put(index: number, bytes: Bytes, done: Done = () => undefined): void {
    this.#pieces[index] = bytes
    queueMicrotask(() => done(null))
  }
  get(index: number, options: { offset?: number; length?: number } | Done | null, done?: Done): void {
    const end = typeof options === 'function' ? options : done
    const { offset = 0, length } = (typeof options === 'function' ? undefined : options) ?? {}
    const piece = this.#pieces[index]
    queueMicrotask(() => {
      if (piece === undefined) end?.(new Error('no such piece'))
      else end?.(null, piece.subarray(offset, length === undefined ? undefined : offset + length))
    })
  }
  close(done: Done = () => undefined): void {
    queueMicrotask(() => done(null))
  }
  destroy(done: Done = () => undefined): void {
    this.#pieces.length = 0
    queueMicrotask(() => done(null))
  }
}
