import { describe, expect, test } from 'vitest'
import type { InfoHash } from '../bytes.ts'
import type { Msat } from '../money/msat.ts'
import { signEvent, type NostrEvent } from '../nostr/event.ts'
import { OFFER } from '../nostr/kinds.ts'
import { parseEvent, readOffer, signOffer, type Offer } from './offer.ts'
import { bytes32, MONEY, NOW_S, party } from './sample.ts'

const seller = party('seller')
const infoHash = 'ab'.repeat(20) as InfoHash
const offer: Omit<Offer, 'seller'> = {
  infoHash,
  money: MONEY,
  price: 1000 as Msat,
  modes: ['atomic', 'free'],
  maxWindowBytes: 262_144,
  expiresAtS: NOW_S + 3600,
}
const event = signOffer(offer, seller.secret, bytes32('aux'), NOW_S)
const content = { v: 1, money: MONEY, priceMsat: 1000, modes: ['atomic'], maxWindowBytes: 16_384 }
const tags = [
  ['d', infoHash as string],
  ['expiration', String(NOW_S)],
]
function other(change: object, with_: Partial<NostrEvent> = {}): NostrEvent {
  const template = {
    kind: OFFER,
    created_at: NOW_S,
    tags,
    content: JSON.stringify({ ...content, ...change }),
  }
  return signEvent({ ...template, ...with_ }, seller.secret, bytes32('aux'))
}

describe('an offer', () => {
  test('is read back from its event, by whom it is', () => {
    const parsed = parseEvent(JSON.stringify(event))
    expect(parsed).toEqual(event)
    expect(readOffer(event, infoHash)).toEqual({ ...offer, seller: seller.key })
    expect(readOffer(other({}), infoHash)).toMatchObject({ maxWindowBytes: 16_384 })
  })

  test.each<[string, string]>([
    ['not JSON', '{'],
    ['no event', '{"a":1}'],
    ['another price', JSON.stringify({ ...event, content: event.content.replace('1000', '1001') })],
    ['another key', JSON.stringify({ ...event, pubkey: party('x').key })],
    ['another signature', JSON.stringify({ ...event, sig: '00'.repeat(64) })],
    ['tags that are no lists', JSON.stringify({ ...event, tags: ['d'] })],
  ])('%s is no event', (_, json) => {
    expect(parseEvent(json)).toBeUndefined()
  })

  test.each<[string, NostrEvent]>([
    ['another kind', other({}, { kind: OFFER + 1 })],
    ['for another torrent', other({}, { tags: [['d', 'cd'.repeat(20)], tags[1] as string[]] })],
    ['without an end', other({}, { tags: [tags[0] as string[]] })],
    ['an end that is no number', other({}, { tags: [tags[0] as string[], ['expiration', 'soon']] })],
    ['another version', other({ v: 2 })],
    ['a negative price', other({ priceMsat: -1 })],
    ['a fraction of a price', other({ priceMsat: 0.5 })],
    ['unknown money', other({ money: 'gold' })],
    ['no mode', other({ modes: [] })],
    ['an unknown mode', other({ modes: ['barter'] })],
    ['windows below a block', other({ maxWindowBytes: 16_383 })],
    ['content that is not JSON', other({}, { content: 'x' })],
  ])('%s is no offer', (_, given) => {
    expect(readOffer(given, infoHash)).toBeUndefined()
  })
})
