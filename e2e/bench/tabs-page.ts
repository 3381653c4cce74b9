/** The bench's end in a tab, driven from outside through `globalThis.bench`. */
import './tabs-connected.ts'
import WebTorrent from '#webtorrent'
import { openIdbJournal } from '../../web/edge/storage/idb-journal.ts'
import { importToOpfs, openOpfsStore } from '../../web/edge/swarm/opfs-store.ts'
import { ends } from './tabs-end.ts'
import { stock, type StockClass } from './tabs-stock.ts'

const file = (): File => {
  const chosen = document.querySelector<HTMLInputElement>('#file')?.files?.[0]
  if (chosen === undefined) throw new Error('no file was given to this tab')
  return chosen
}

Object.assign(globalThis, {
  bench: ends({
    fullStore: (meta) => importToOpfs(meta, file()),
    emptyStore: (meta) => openOpfsStore(meta),
    journal: (name) => Promise.resolve(openIdbJournal(name)),
    connection: () => new RTCPeerConnection({ iceServers: [] }),
    ...stock(WebTorrent as unknown as StockClass, file),
  }),
})
