/**
 * For kill.test.ts: a seller in a process of its own, with its journal and its bytes on disk and a wallet that can only
 * hold. Says `ready`, and `locked` or `settled` when it gets so far; with argv[3] it goes no further and waits to be killed.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { fromHex, type Sha256Hex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { readMetainfo, type Metainfo } from '../../web/core/swarm/metainfo.ts'
import { createShop } from '../../web/edge/swarm/shop.ts'
import { memoryStore } from '../../web/edge/swarm/memory.ts'
import { createSwarm } from '../../web/edge/swarm/swarm.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { openJournal } from '../../device/storage/journal.ts'
import { sellPolicy } from './arena.ts'

const [dir = '', diesAt = ''] = process.argv.slice(2)
const hex = v.string()
const setup = v.parse(
  v.object({
    tracker: v.string(),
    connection: v.string(),
    secret: hex,
    infoHash: hex,
    piecesRoot: hex,
    bytes: v.number(),
    pieceLength: v.number(),
  }),
  JSON.parse(await readFile(join(dir, 'setup.json'), 'utf8')),
)
const say = (word: string): void => void process.stdout.write(`${word}\n`)
const never = new Promise<void>(() => undefined)

const secret = fromHex(setup.secret)
const identity = { secret, key: publicKey(secret) }
const meta: Metainfo = readMetainfo(
  new Uint8Array(await readFile(join(dir, 'meta.torrent'))),
  setup as unknown as Parameters<typeof readMetainfo>[1],
)
const purse = await connectNwc(setup.connection)
const wallet: Wallet = {
  ...purse,
  info: async () => {
    const info = await purse.info()
    return { ...info, features: new Set([...info.features].filter((one) => one !== 'preimage-invoices')) }
  },
  onEvent: (run) =>
    purse.onEvent((event) => {
      if (event.tag === 'hold-accepted') say('locked')
      if (diesAt !== 'locked') run(event)
    }),
  settleHoldInvoice: async (preimage) => {
    await purse.settleHoldInvoice(preimage)
    say('settled')
    if (diesAt === 'settled') await never
  },
}
const swarm = await createSwarm({ identity, role: 'distributor', iceServers: [], trackers: [setup.tracker] })
const store = memoryStore(meta, new Uint8Array(await readFile(join(dir, 'artifact'))))
const session = await swarm.join(meta, store, { vendor: '0'.repeat(64) as Sha256Hex, floor: () => undefined })
const journal = await openJournal(join(dir, 'journal'))
await createShop({ session, identity, journal, wallet, policy: sellPolicy, nowMs: Date.now }).start()
say('ready')
// Whatever ends the test ends this.
process.stdin.resume().once('end', () => process.exit())
