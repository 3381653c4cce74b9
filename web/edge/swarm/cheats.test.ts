import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { toHex, type Bytes, type InfoHash, type PartyKey, type VendorId } from '../../core/bytes.ts'
import { accusationEvent, contentOf, proofIn } from '../../core/exchange/accusation.ts'
import { cheatBounds } from '../../core/exchange/cheats.ts'
import { encodeProof, type FraudProof } from '../../core/exchange/fraud.ts'
import { artifact, BLOCK, bytes32, party, proofOf, sell, type Party } from '../../core/exchange/sample.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { signEvent, verifyEvent, type NostrEvent } from '../../core/nostr/event.ts'
import type { Release } from '../../core/release/target.ts'
import { matchesAny, type Filter } from '../nostr/filter.ts'
import type { Pool, SubscribeOptions } from '../nostr/pool.ts'
import { createCheats, type Cheats, type CheatsDeps, type Proven } from './cheats.ts'
import { memoryJournal } from './memory.ts'

const of = artifact({ length: 5 * BLOCK, pieceLength: 4 * BLOCK })
const vendor = toHex(bytes32('vendor')) as VendorId
const infoHash = 'ab'.repeat(20) as InfoHash
const release = {
  infoHash,
  piecesRoot: of.root,
  bytes: of.shape.length,
  pieceLength: of.shape.pieceLength,
} as Release
const nowMs = () => 1_800_000_000_000

/** What `seller` sold `buyer`, with one wrong block in it. */
function proofAbout(seller: Party, buyer: Party = party('buyer')): FraudProof {
  const sold = sell(of, [0], { buyer, seller }, { spoil: (plain) => void (plain[0] = 99) })
  return proofOf(of, sold, 0, 0)
}
/** Says that a genuine block was wrong. */
function lieAbout(seller: Party): FraudProof {
  return proofOf(of, sell(of, [0], { buyer: party('buyer'), seller }), 0, 0)
}
function accuse(author: Party, proof: FraudProof, accused: PartyKey): NostrEvent {
  const content = contentOf(encodeProof(proof))
  const template = accusationEvent({ accused, vendor, infoHash, content, createdAtS: 1 })
  return signEvent(template, author.secret, bytes32('aux'))
}

/** A relay that keeps what it is given while it is there. */
class Relay implements Pool {
  readonly status = liveCell([])
  readonly stored: NostrEvent[] = []
  readonly asked: (readonly Filter[])[] = []
  up = true
  tries = 0
  #subscriptions = new Set<{ filters: readonly Filter[]; run: (event: NostrEvent) => void }>()
  publish(event: NostrEvent): Promise<void> {
    this.tries++
    if (!this.up) return Promise.reject(new Error('no relay'))
    this.say(event)
    return Promise.resolve()
  }
  say(event: NostrEvent): void {
    this.stored.push(event)
    for (const { filters, run } of [...this.#subscriptions]) if (matchesAny(filters, event)) run(event)
  }
  subscribe(
    filters: readonly Filter[],
    onEvent: (event: NostrEvent) => void,
    { unverified }: SubscribeOptions = {},
  ): () => void {
    this.asked.push(filters)
    const run = (event: NostrEvent): void => {
      if (unverified === true || verifyEvent(event)) onEvent(event)
    }
    const entry = { filters, run }
    this.#subscriptions.add(entry)
    for (const event of this.stored) if (matchesAny(filters, event)) run(event)
    return () => this.#subscriptions.delete(entry)
  }
  close(): void {
    this.#subscriptions.clear()
  }
}

const running: Cheats[] = []
afterAll(() => Promise.all(running.map((at) => at.stop())))
function start(pool: Pool, self: Party, more: Partial<CheatsDeps> = {}) {
  const journal = more.journal ?? memoryJournal()
  const cheats = createCheats({
    pool,
    journal,
    identity: self,
    nowMs,
    random: () => 0.5,
    randomBytes: (length) => bytes32('aux').slice(0, length) as Bytes,
    retryMs: 1,
    ...more,
  })
  running.push(cheats)
  return { cheats, journal }
}
const until = <T>(live: Live<T>, fits: (value: T) => boolean): Promise<T> =>
  new Promise((done) => {
    const stop = live.subscribe((value) => {
      if (!fits(value)) return
      queueMicrotask(() => stop())
      done(value)
    })
  })
const convicted = (cheats: Cheats, key: PartyKey) => until(cheats.proven, (map) => map.has(key))
const seller = party('seller')

test('a proof is published by whoever was cheated, and convicts at everybody who follows the vendor', async () => {
  const relay = new Relay()
  const files: Proven[] = []
  const { cheats: a } = start(relay, party('a'), { onProven: (proven) => files.push(proven) })
  const { cheats: b } = start(relay, party('b'), { onProven: (proven) => files.push(proven) })
  const { cheats: elsewhere } = start(relay, party('c'))
  for (const at of [a, b]) at.follow(vendor, [release], [])
  elsewhere.follow(toHex(bytes32('other vendor')) as VendorId, [], [])
  const proof = encodeProof(proofAbout(seller, party('a')))
  a.accuse(infoHash, proof, seller.key)
  const cheat = (await convicted(b, seller.key)).get(seller.key)
  expect(cheat).toMatchObject({
    author: party('a').key,
    buyer: party('a').key,
    piece: 0,
    block: 0,
    from: 'stranger',
  })
  expect(a.proven.get().get(seller.key)).toMatchObject({ from: 'self' })
  expect(elsewhere.proven.get().size).toBe(0)
  // Nobody else publishes it again, and both hold the same event.
  expect(relay.stored).toHaveLength(1)
  expect(files.map(({ event }) => event)).toEqual([relay.stored[0], relay.stored[0]])
  const [event] = relay.stored as [NostrEvent]
  expect(verifyEvent(event)).toBe(true)
  expect(encodeProof(proofIn(event) as FraudProof)).toEqual(proof)
})

test('it is tried until a relay takes it, over a restart too, and then not again', async () => {
  const relay = new Relay()
  relay.up = false
  const first = start(relay, party('a'))
  first.cheats.follow(vendor, [release], [])
  first.cheats.accuse(infoHash, encodeProof(proofAbout(seller)), seller.key)
  await convicted(first.cheats, seller.key)
  while (relay.tries < 3) await new Promise((done) => setTimeout(done, 1))
  await first.cheats.stop()
  expect(relay.stored).toHaveLength(0)

  relay.up = true
  const { journal } = first
  const forgotten = new Promise<string>((done) => {
    const watched = { ...journal, delete: (key: string) => journal.delete(key).then(() => done(key)) }
    start(relay, party('a'), { journal: watched })
  })
  expect(await forgotten).toBe(`cheat-tell/${seller.key}`)
  expect(relay.stored[0]?.pubkey).toBe(party('a').key)
  const { tries } = relay
  const third = start(relay, party('a'), { journal: first.journal })
  await third.cheats.loaded
  third.cheats.follow(vendor, [release], [])
  await third.cheats.stop()
  expect(relay.tries).toBe(tries)
})

test('a proof that only the download wrote down before the power went is published at the next start', async () => {
  const relay = new Relay()
  const journal = memoryJournal()
  await journal.put(`fraud/${infoHash}/${seller.key}`, encodeProof(proofAbout(seller)))
  const { cheats } = start(relay, party('a'), { journal })
  cheats.follow(vendor, [release], [])
  await convicted(cheats, seller.key)
  expect(relay.stored).toHaveLength(1)
})

test('an own record that does not hold accuses nobody', async () => {
  const relay = new Relay()
  const journal = memoryJournal()
  await journal.put(`fraud/${infoHash}/${seller.key}`, encodeProof(lieAbout(seller)))
  const log = new Promise<string>((done) => {
    const { cheats } = start(relay, party('a'), { journal, log: (event) => done(event) })
    cheats.follow(vendor, [release], [])
  })
  expect(await log).toBe('own proof does not hold')
  expect(relay.stored).toHaveLength(0)
})

test('a false one convicts nobody; its author is not heard again, after a restart either', async () => {
  const relay = new Relay()
  const liar = party('liar')
  const first = start(relay, party('b'))
  first.cheats.follow(vendor, [release], [])
  await first.cheats.loaded
  relay.say(accuse(liar, lieAbout(seller), seller.key))
  await until(first.cheats.ignored, (map) => map.has(liar.key))
  const cheat = party('cheat')
  relay.say(accuse(liar, proofAbout(cheat), cheat.key))
  relay.say(accuse(party('honest'), proofAbout(party('third')), party('third').key))
  await convicted(first.cheats, party('third').key)
  expect([...first.cheats.proven.get().keys()]).toEqual([party('third').key])
  await first.cheats.stop()

  const second = start(relay, party('b'), { journal: first.journal })
  await second.cheats.loaded
  expect(second.cheats.proven.get().has(party('third').key)).toBe(true)
  expect(second.cheats.ignored.get().get(liar.key)).toBe('block is genuine')
  second.cheats.follow(vendor, [release], [])
  relay.say(accuse(party('honest'), proofAbout(party('fourth')), party('fourth').key))
  await convicted(second.cheats, party('fourth').key)
  expect(second.cheats.proven.get().has(cheat.key)).toBe(false)
})

test.each<[string, (event: NostrEvent) => NostrEvent]>([
  ['a signature that is not its author’s', (event) => ({ ...event, sig: '11'.repeat(64) })],
  ['an id of other content', (event) => ({ ...event, created_at: 2 })],
])('%s: dropped, and nobody is blamed', async (_, bend) => {
  const relay = new Relay()
  const { cheats } = start(relay, party('b'))
  cheats.follow(vendor, [release], [])
  await cheats.loaded
  relay.say(bend(accuse(party('framed'), proofAbout(seller), seller.key)))
  relay.say(accuse(party('framed'), proofAbout(party('cheat')), party('cheat').key))
  await convicted(cheats, party('cheat').key)
  expect(cheats.proven.get().has(seller.key)).toBe(false)
  expect(cheats.ignored.get().size).toBe(0)
})

test('a relay that forges a flood in the vendor’s name takes none of the vendor’s places', async () => {
  const relay = new Relay()
  const { cheats } = start(relay, party('b'))
  cheats.follow(vendor, [release], [party('vendor').key])
  await cheats.loaded
  const genuine = accuse(party('vendor'), proofAbout(seller), seller.key)
  for (let i = 0; i < cheatBounds.waitingOfAuthor.known + cheatBounds.checks.known; i++)
    relay.say({ ...genuine, id: toHex(bytes32(`forged ${i}`)), sig: '11'.repeat(64) })
  relay.say(genuine)
  await convicted(cheats, seller.key)
  expect(cheats.ignored.get().size).toBe(0)
})

test('what names another key than it convicts is false', async () => {
  const relay = new Relay()
  const { cheats } = start(relay, party('b'))
  cheats.follow(vendor, [release], [])
  await cheats.loaded
  relay.say(accuse(party('liar'), proofAbout(seller), party('honest').key))
  expect((await until(cheats.ignored, (map) => map.size > 0)).get(party('liar').key)).toBe(
    'about another key',
  )
  expect(cheats.proven.get().size).toBe(0)
})

test('what was said of a release before it was known is heard when it is', async () => {
  const relay = new Relay()
  const { cheats } = start(relay, party('b'))
  cheats.follow(vendor, [], [])
  await cheats.loaded
  relay.say(accuse(party('a'), proofAbout(seller), seller.key))
  cheats.follow(vendor, [release], [])
  await convicted(cheats, seller.key)
})

test('a withdrawn release is checked against what it was, after a restart too', async () => {
  const relay = new Relay()
  const first = start(relay, party('b'))
  first.cheats.follow(vendor, [release], [])
  await first.cheats.loaded
  await first.cheats.stop()
  const second = start(relay, party('b'), { journal: first.journal })
  second.cheats.follow(vendor, [], [])
  relay.say(accuse(party('a'), proofAbout(seller), seller.key))
  await convicted(second.cheats, seller.key)
})

test('a vendor vouches for its devices: what they prove comes under its own name too', async () => {
  const relay = new Relay()
  const { cheats: tab } = start(relay, party('vendor'), { vouches: true })
  tab.follow(vendor, [release], [party('device').key])
  await tab.loaded
  relay.say(accuse(party('stranger'), proofAbout(party('x')), party('x').key))
  await convicted(tab, party('x').key)
  relay.say(accuse(party('device'), proofAbout(seller), seller.key))
  await convicted(tab, seller.key)
  const own = relay.stored.filter((event) => event.pubkey === party('vendor').key)
  expect(own.map((event) => event.tags[0])).toEqual([['p', seller.key]])
  const { cheats: device } = start(relay, party('other device'))
  device.follow(vendor, [release], [party('vendor').key])
  expect((await convicted(device, seller.key)).get(seller.key)?.from).toMatch(/known|stranger/)
})

test('who is met on a wire is asked about by name, once', async () => {
  const relay = new Relay()
  const { cheats } = start(relay, party('b'))
  cheats.follow(vendor, [release], [])
  await cheats.loaded
  const byName = () => relay.asked.flat().filter((filter) => filter['#p'] !== undefined)
  const met = new Promise<void>((done) => {
    const subscribe = relay.subscribe.bind(relay)
    relay.subscribe = (filters, run, options) => {
      const end = subscribe(filters, run, options)
      if (filters.some((filter) => filter['#p'] !== undefined)) done()
      return end
    }
  })
  cheats.meet([seller.key, party('b').key])
  cheats.meet([seller.key])
  await met
  expect(byName()).toMatchObject([{ '#p': [seller.key] }])
  cheats.meet([seller.key])
  expect(byName()).toHaveLength(1)
})

test('who is met is asked about also after the clock was set back', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const relay = new Relay()
  let clockMs = nowMs()
  const { cheats } = start(relay, party('b'), { nowMs: () => clockMs })
  cheats.follow(vendor, [release], [])
  await cheats.loaded
  const asked = () => relay.asked.flat().flatMap((filter) => filter['#p'] ?? [])
  cheats.meet([seller.key])
  await vi.advanceTimersByTimeAsync(3_000)
  expect(asked()).toEqual([seller.key])
  clockMs -= 3_600_000
  const other = party('other seller').key
  cheats.meet([other])
  await vi.advanceTimersByTimeAsync(3_000)
  expect(asked()).toContain(other)
  await cheats.stop()
})
