/**
 * Two peers that announce in one moment offer to each other. webtorrent keeps the connection that comes first, which is
 * another one on either side, so that both are closed and the peers meet again seconds later. Here both keep the one
 * that the smaller id has offered.
 *
 * A handshake that fails on one side is waited for on the other: webtorrent gives it 25 s, and turns away what that peer
 * offers meanwhile. Here it gives way to the next offer after a while.
 */
import type { KnownPeer, Torrent } from '#webtorrent'

/** Well above what connecting takes, also on a busy machine. */
export const STUCK_MS = 5000

/** `ownId`: the client's peer id, hex, as the tracker gives those of the others. */
export function settleGlare(torrent: Torrent, ownId: string, nowMs = () => performance.now()): void {
  const add = torrent._addPeer.bind(torrent)
  const sinceMs = new WeakMap<KnownPeer, number>()
  torrent._addPeer = (peer, type, source) => {
    if (typeof peer === 'string') return add(peer, type, source)
    const rival = torrent._peers.get(peer.id)
    if (rival?.conn != null && !rival._handshakeDone) {
      const crossing = rival.conn.initiator !== peer.initiator
      const offeredBy = peer.initiator ? ownId : peer.id
      const stuck = nowMs() - (sinceMs.get(rival) ?? nowMs()) >= STUCK_MS
      if (stuck || (crossing && offeredBy <= ownId && offeredBy <= peer.id)) rival.destroy()
    }
    const added = add(peer, type, source)
    const known = torrent._peers.get(peer.id)
    if (added !== null && known !== undefined) sinceMs.set(known, nowMs())
    return added
  }
}
