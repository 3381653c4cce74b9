/** Windows have numbers that are easily guessed: only the seller that was asked may refuse one. */
import { expect, test } from 'vitest'
import type { Message } from '../../web/core/exchange/message.ts'
import { signOffer } from '../../web/core/exchange/offer.ts'
import { createDownload } from '../../web/edge/swarm/download.ts'
import type { Peer } from '../../web/edge/swarm/peer.ts'
import { buyPolicy, GRANT, PIECE, PRICE, type Arena } from './arena.ts'
import { inArena } from './in-arena.ts'

type Request = Extract<Message, { t: 'request' }>

/** Offers, answers nothing, and hands on what it is asked for. */
async function mute(
  arena: Arena,
  onRequest: (request: Request, peer: Peer) => void,
  onWire?: (peer: Peer) => void,
) {
  const { session, identity } = await arena.member('mute', { full: true })
  const nowS = Math.floor(arena.nowMs() / 1000)
  const { infoHash } = session.meta
  const terms = { infoHash, money: 'sandbox:arena' as const, price: PRICE, modes: ['atomic' as const] }
  const offer = signOffer(
    { ...terms, maxWindowBytes: PIECE, expiresAtS: nowS + 3600 },
    identity.secret,
    crypto.getRandomValues(new Uint8Array(32)),
    nowS,
  )
  session.attach({
    joined(peer) {
      onWire?.(peer)
      peer.send({ t: 'offer', event: JSON.stringify(offer), gift: false })
    },
    message: (peer, message) => {
      if (message.t === 'request') onRequest(message, peer)
    },
  })
}

test('a stranger’s refusal of another’s window changes nothing', () =>
  inArena(async (arena) => {
    const asked: Request[] = []
    let first: () => void = () => undefined
    const begun = new Promise<void>((done) => (first = done))
    await mute(arena, (request) => {
      asked.push(request)
      first()
    })
    const refused: unknown[] = []
    const member = await arena.member('device', { full: false, balance: GRANT })
    const download = createDownload({
      ...member,
      policy: buyPolicy,
      nowMs: arena.nowMs,
      log: (event, detail) => event === 'request refused' && refused.push(detail),
    })
    arena.onClose(() => download.stop())
    await download.start()
    await begun
    const own = asked.map(({ id }) => id)
    const pieces = asked.flatMap((request) => request.pieces)
    // Frames of one wire are heard in order: when the stranger is asked, its refusals have been heard.
    const heard = await new Promise<Request>((done) => {
      void mute(arena, done, (peer) => {
        for (const id of own) peer.send({ t: 'refuse', id, code: 'closed' })
      })
    })
    expect(refused).toEqual([])
    expect(heard.pieces.some((piece) => pieces.includes(piece))).toBe(false)
  }))
