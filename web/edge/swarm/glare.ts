/**
 * Two peers that announce in one moment offer to each other. webtorrent keeps the connection that comes first, which is
 * another one on either side, so that both are closed and the peers meet again seconds later. Here both keep the one
 * that the smaller id has offered.
 */
import type { Torrent } from '#webtorrent'

/** `ownId`: the client's peer id, hex, as the tracker gives those of the others. */
export function settleGlare(torrent: Torrent, ownId: string): void {
  const add = torrent._addPeer.bind(torrent)
  torrent._addPeer = (peer, type, source) => {
    const rival = typeof peer === 'string' ? undefined : torrent._peers.get(peer.id)
    if (typeof peer !== 'string' && rival?.conn != null && !rival._handshakeDone) {
      const crossing = rival.conn.initiator !== peer.initiator
      const offeredBy = peer.initiator ? ownId : peer.id
      if (crossing && offeredBy <= ownId && offeredBy <= peer.id) rival.destroy()
    }
    return add(peer, type, source)
  }
}
