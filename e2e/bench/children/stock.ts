/**
 * Stock webtorrent, as fast as it goes: no limits, no uTP or DHT to spend time on, its own scheduler, store and
 * verification. Only the way to a connection is the product's (`tuneIce`), so that connecting is not what is measured.
 * Tells `ready`, `connected`, `done`.
 */
import WebTorrent, { type Torrent } from '#webtorrent'
import { tuneIce } from '#ice'
import { readFile } from 'node:fs/promises'
import { child } from '../child.ts'
import { onConnected } from '../connected.ts'
import { STOCK_OPTIONS } from '../stock-options.ts'

export type StockConfig = Readonly<{
  torrentFile: string
  tracker: string
  /** The seed's directory holds the file; a leech's is empty. */
  dir: string
  seed: boolean
  /** Pieces in memory in place of a file. */
  memory?: boolean
}>

const MAX_CONNECTIONS = 200

child<StockConfig>(async (config, tell) => {
  await tuneIce()
  onConnected((atMs) => tell('connected', {}, atMs))
  const client = new WebTorrent({ ...STOCK_OPTIONS, maxConns: MAX_CONNECTIONS })
  client.on('error', (error: Error) => tell('failed', { message: error.message }))
  const { default: MemoryStore } = (await import('memory-chunk-store' as string)) as { default: object }
  const torrent: Torrent = client.add(await readFile(config.torrentFile), {
    announce: [config.tracker],
    path: config.dir,
    ...(config.seed ? { skipVerify: true } : {}),
    ...(config.memory === true ? { store: MemoryStore } : {}),
  })
  torrent.on('error', (error: Error) => tell('failed', { message: error.message }))
  torrent.once('ready', () => tell('ready'))
  torrent.once('done', () => tell('done'))
  return { stop: () => new Promise((done) => client.destroy(() => done())) }
})
