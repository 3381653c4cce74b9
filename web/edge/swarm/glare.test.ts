import { describe, expect, test } from 'vitest'
import type { KnownPeer, Offered, Torrent } from '#webtorrent'
import { settleGlare, STUCK_MS } from './glare.ts'

/** Keeps the first connection of each peer, as webtorrent does. */
class Side {
  readonly destroyed: Offered[] = []
  nowMs = 0
  readonly #peers = new Map<string, KnownPeer>()
  readonly torrent = {
    _peers: this.#peers,
    _addPeer: (peer: Offered) => {
      if (this.#peers.has(peer.id)) {
        this.destroyed.push(peer)
        return null
      }
      const destroy = () => {
        this.destroyed.push(peer)
        this.#peers.delete(peer.id)
      }
      this.#peers.set(peer.id, { wire: null, conn: peer, destroy } as unknown as KnownPeer)
      return {}
    },
  } as unknown as Torrent

  constructor(id: string) {
    settleGlare(this.torrent, id, () => this.nowMs)
  }
  hears(id: string, what: 'offer' | 'answer'): void {
    this.torrent._addPeer({ id, initiator: what === 'answer' }, 'tcp', 'tracker')
  }
  /** Whose offer the one connection to `id` goes back to. */
  kept(own: string, id: string): string {
    return (this.#peers.get(id)?.conn?.initiator ?? false) ? own : id
  }
  shakeHands(id: string): void {
    Object.assign(this.#peers.get(id) ?? {}, { _handshakeDone: true })
  }
}

describe('offers that cross', () => {
  const orders = [
    ['offer', 'answer'],
    ['answer', 'offer'],
  ] as const
  test.each(orders.flatMap((a) => orders.map((b) => [a, b] as const)))(
    'both sides keep the same one: %s there, %s here',
    (here, there) => {
      const [a, b] = [new Side('aa'), new Side('bb')]
      for (const what of here) a.hears('bb', what)
      for (const what of there) b.hears('aa', what)
      expect(a.kept('aa', 'bb')).toBe('aa')
      expect(b.kept('bb', 'aa')).toBe('aa')
      expect([a.destroyed.length, b.destroyed.length]).toEqual([1, 1])
    },
  )

  test('what has shaken hands stays, and so does the first of two offers of one peer', () => {
    const side = new Side('bb')
    side.hears('aa', 'answer')
    side.shakeHands('aa')
    side.hears('aa', 'offer')
    expect(side.kept('bb', 'aa')).toBe('bb')
    const other = new Side('bb')
    other.hears('aa', 'offer')
    other.hears('aa', 'offer')
    expect(other.destroyed).toHaveLength(1)
  })

  test('what is not there after a while gives way to the next offer of that peer', () => {
    const side = new Side('aa')
    side.hears('bb', 'answer')
    side.nowMs = STUCK_MS - 1
    side.hears('bb', 'offer')
    expect(side.kept('aa', 'bb')).toBe('aa')
    side.nowMs = STUCK_MS
    side.hears('bb', 'offer')
    expect(side.kept('aa', 'bb')).toBe('bb')
    side.nowMs = 2 * STUCK_MS
    side.shakeHands('bb')
    side.hears('bb', 'offer')
    expect(side.destroyed).toHaveLength(3)
  })
})
