/** The tracker over real WebSockets, with polite and impolite peers. */
import { expect, test } from 'vitest'
import { afterTest, relay } from './fixture.ts'
import { trackerLimits } from './tracker.ts'

const infoHash = 'h'.repeat(20)
const peerId = (letter: string) => letter.repeat(20)

async function peer(url: string) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/tracker`)
  afterTest(() => socket.close())
  const heard: Record<string, unknown>[] = []
  let wake = () => undefined as void
  socket.onmessage = ({ data }) => {
    heard.push(JSON.parse(String(data)) as Record<string, unknown>)
    wake()
  }
  const closed = new Promise((resolve) => (socket.onclose = resolve))
  await new Promise((resolve) => (socket.onopen = resolve))
  return {
    closed,
    sendText: (text: string) => socket.send(text),
    announce: (letter: string, more: object = {}) =>
      socket.send(
        JSON.stringify({
          action: 'announce',
          info_hash: infoHash,
          peer_id: peerId(letter),
          numwant: 5,
          ...more,
        }),
      ),
    async next(): Promise<Record<string, unknown>> {
      while (heard.length === 0) await new Promise<void>((resolve) => (wake = resolve))
      return heard.shift()!
    },
    close: () => socket.close(),
  }
}
const offer = (sdp: string) => ({ offer: { type: 'offer', sdp }, offer_id: 'o'.repeat(20) })

test('introduces two peers to each other and asks them back within seconds', async () => {
  const { url } = await relay()
  const [a, b] = [await peer(url), await peer(url)]
  a.announce('a', { event: 'started', left: 0 })
  expect(await a.next()).toMatchObject({
    action: 'announce',
    interval: trackerLimits.announceIntervalS,
    complete: 1,
  })
  b.announce('b', { event: 'started', left: 10, offers: [offer('from b')] })
  expect(await b.next()).toMatchObject({ complete: 1, incomplete: 1 })
  expect(await a.next()).toMatchObject({
    offer: { sdp: 'from b' },
    peer_id: peerId('b'),
    info_hash: infoHash,
  })
  a.announce('a', {
    answer: { type: 'answer', sdp: 'from a' },
    to_peer_id: peerId('b'),
    offer_id: 'o'.repeat(20),
  })
  expect(await b.next()).toMatchObject({ answer: { sdp: 'from a' }, peer_id: peerId('a') })
})

test('survives messages that would end an unguarded tracker', async () => {
  const { url } = await relay()
  const [good, bad] = [await peer(url), await peer(url)]
  good.announce('g', { event: 'started', left: 0 })
  await good.next()
  for (const more of [
    { offers: [null] },
    { offers: [{ offer: 'x' }] },
    { offers: Array.from({ length: trackerLimits.offersPerAnnounce + 1 }, () => offer('x')) },
    { peer_id: 'short' },
    { event: '__proto__' },
  ]) {
    bad.announce('b', more)
    expect(await bad.next()).toHaveProperty('failure reason')
  }
  bad.sendText('not JSON')
  expect(await bad.next()).toHaveProperty('failure reason')
  bad.sendText(JSON.stringify({ action: 'scrape' })) // all torrents of everybody
  expect(await bad.next()).toHaveProperty('failure reason')
  good.announce('g')
  expect(await good.next()).toMatchObject({ complete: 1 })
})

test('holds its limit of torrents for one peer, and hangs up on a message over the limit', async () => {
  const { url } = await relay()
  const greedy = await peer(url)
  for (let i = 0; i <= trackerLimits.swarmsPerPeer; i++) {
    greedy.announce('g', { info_hash: String(i).padStart(20, '0'), event: 'started' })
    const answer = await greedy.next()
    if (i < trackerLimits.swarmsPerPeer) expect(answer).toMatchObject({ incomplete: 1 })
    else expect(answer).toHaveProperty('failure reason')
  }
  greedy.sendText('x'.repeat(trackerLimits.messageBytes + 1))
  await greedy.closed
})

test('of twenty who have met, each offer finds the only one who has all of it', async () => {
  const { url } = await relay()
  const seed = await peer(url)
  seed.announce('A', { event: 'started', left: 0 })
  await seed.next()
  const others = 'bcdefghijklmnopqrstu'.split('')
  const peers = await Promise.all(others.map(() => peer(url)))
  for (const [i, letter] of others.entries()) {
    peers[i]?.announce(letter, { event: 'started', left: 10 })
    await peers[i]?.next()
  }
  for (const [i, letter] of others.entries()) {
    peers[i]?.announce(letter, { numwant: 2, offers: [offer(`from ${letter}`), offer(`again ${letter}`)] })
    expect(await seed.next()).toMatchObject({ peer_id: peerId(letter) })
  }
  // The other way round: all offers of who has all of it go to those who have not.
  const second = await peer(url)
  second.announce('B', { event: 'started', left: 0, offers: [offer('1'), offer('2'), offer('3')] })
  await second.next()
  seed.announce('A', {
    answer: { type: 'answer', sdp: 'x' },
    to_peer_id: peerId('B'),
    offer_id: 'o'.repeat(20),
  })
  expect(await second.next()).toMatchObject({ answer: { sdp: 'x' } })
  seed.announce('A', { event: 'update', left: 0 })
  expect(await seed.next()).toMatchObject({ complete: 2, incomplete: 20 })
})

test('in a swarm too large to look at whole, too', async () => {
  const { url } = await relay()
  const [seed, other, crowd] = [await peer(url), await peer(url), await peer(url)]
  const id = (i: number) => `crowd${String(i).padStart(15, '0')}`
  for (let i = 0; i < 700; i++) {
    crowd.announce('c', { peer_id: id(i), event: 'started', left: 10 })
    await crowd.next()
  }
  seed.announce('A', { event: 'started', left: 0 })
  await seed.next()
  // Full copies are looked for once a second.
  for (let sdp = 0; ; sdp++) {
    other.announce('o', { numwant: 1, left: 10, offers: [offer(String(sdp))] })
    await other.next()
    seed.announce('A', { event: 'update', left: 0 })
    if ('offer' in (await seed.next())) break
  }
})
