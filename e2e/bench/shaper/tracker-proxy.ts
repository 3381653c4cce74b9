/**
 * A tracker (bittorrent-tracker's WebSocket protocol) with an address of its own for each lane. Offers and answers that
 * the real tracker hands out are changed on their way to a peer, so that the two sides meet in a link of ours.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import * as v from 'valibot'
import { openLink, ownAddress, type Link } from './links.ts'
import { udpAddress, withAddress } from './sdp.ts'
import type { Uplink } from './uplink.ts'

const description = v.looseObject({ sdp: v.string() })
const fromPeer = v.looseObject({
  offers: v.optional(v.array(v.looseObject({ offer_id: v.string() }))),
})
const toPeer = v.looseObject({
  offer_id: v.optional(v.string()),
  offer: v.optional(description),
  answer: v.optional(description),
})

/** Offers that nobody has answered; the oldest goes. */
const MAX_OFFERS = 20_000

export interface TrackerProxy {
  urlOf(lane: number): string
  close(): Promise<void>
}

export async function openTrackerProxy(upstream: string, uplinks: readonly Uplink[]): Promise<TrackerProxy> {
  const host = ownAddress()
  /** Who made an offer, and the link that it became. */
  const offers = new Map<string, { lane: number; link?: Promise<Link> }>()
  const links = new Set<Link>()

  const changed = async (lane: number, text: string): Promise<string> => {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), toPeer), text)
    if (!parsed.success || parsed.output.offer_id === undefined) return text
    const message = parsed.output
    const made = offers.get(parsed.output.offer_id)
    if (made === undefined) return text
    const [mine, theirs] = [uplinks[lane], uplinks[made.lane]]
    if (mine === undefined || theirs === undefined) return text
    if (message.offer !== undefined) {
      made.link ??= openLink(host, theirs, mine, () => undefined).then((link) => {
        links.add(link)
        return link
      })
      const link = await made.link
      const address = udpAddress(message.offer.sdp)
      if (address !== undefined) link.offererAt(address)
      message.offer.sdp = withAddress(message.offer.sdp, link.towardsAnswerer)
    } else if (message.answer !== undefined && made.link !== undefined) {
      const link = await made.link
      const address = udpAddress(message.answer.sdp)
      if (address !== undefined) link.answererAt(address)
      message.answer.sdp = withAddress(message.answer.sdp, link.towardsOfferer)
    }
    return JSON.stringify(message)
  }

  const noteOffers = (lane: number, text: string): void => {
    const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), fromPeer), text)
    if (!parsed.success) return
    for (const { offer_id } of parsed.output.offers ?? []) {
      offers.set(offer_id, { lane })
      if (offers.size > MAX_OFFERS) for (const oldest of offers.keys()) if (offers.delete(oldest)) break
    }
  }

  const server: Server = createServer((_request, response) => void response.writeHead(404).end())
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (peer, request) => {
    const lane = Number(/^\/lane\/(\d+)/.exec(request.url ?? '')?.[1] ?? NaN)
    if (uplinks[lane] === undefined) return peer.close()
    const tracker = new WebSocket(upstream)
    const early: string[] = []
    peer.on('message', (data: Buffer) => {
      const text = data.toString('utf8')
      noteOffers(lane, text)
      if (tracker.readyState === WebSocket.OPEN) tracker.send(text)
      else early.push(text)
    })
    tracker.on('open', () => {
      for (const text of early.splice(0)) tracker.send(text)
    })
    // One after the other: an answer must not overtake what came before it.
    let order = Promise.resolve()
    tracker.on('message', (data: Buffer) => {
      const text = data.toString('utf8')
      order = order.then(async () => {
        const next = await changed(lane, text).catch(() => text)
        if (peer.readyState === WebSocket.OPEN) peer.send(next)
      })
    })
    for (const [one, other] of [
      [peer, tracker],
      [tracker, peer],
    ] as const) {
      one.on('close', () => other.close())
      one.on('error', () => other.terminate())
    }
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    urlOf: (lane) => `ws://127.0.0.1:${port}/lane/${lane}`,
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      for (const link of links) link.close()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
}
