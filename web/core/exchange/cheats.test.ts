import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toHex, type InfoHash, type PartyKey, type Sha256Hex, type VendorId } from '../bytes.ts'
import { msat } from '../money/msat.ts'
import type { Accusation, Judgement } from './accusation.ts'
import {
  cheatBounds,
  openBook,
  step,
  type Book,
  type BookEffect,
  type BookEvent,
  type Cheat,
} from './cheats.ts'
import type { FraudProof } from './fraud.ts'
import type { Quote } from './quote.ts'
import { bytes32 } from './sample.ts'

const name = (text: string) => toHex(bytes32(text))
const key = (n: number | string) => name(`key ${n}`) as PartyKey
const VENDOR = name('vendor') as VendorId
const OTHER_VENDOR = name('other vendor') as VendorId
const RELEASE = name('release').slice(0, 40) as InfoHash
const SELF = key('self')
const signed = { root: name('root') as Sha256Hex, shape: { length: 1, pieceLength: 16_384 } }

let serial = 0
const accusation = (author: PartyKey, accused: PartyKey, of: Partial<Accusation> = {}): Accusation => {
  const id = name(`event ${++serial}`)
  const event = { id, pubkey: author, sig: id, kind: 1892, created_at: 0, tags: [], content: '' }
  return { event, accused, vendor: VENDOR, infoHash: RELEASE, ...of }
}
const VALID: Judgement = {
  tag: 'valid',
  proof: { piece: 1, block: 2 } as FraudProof,
  quote: { buyer: key('buyer'), amount: msat(1000) } as Quote,
}
const FALSE: Judgement = { tag: 'false', why: 'block is genuine' }

/** A book with what it did, on a clock of its own. */
class Desk {
  readonly book: Book
  readonly effects: BookEffect[] = []
  nowMs = 1_000_000
  constructor(vouches = false) {
    this.book = openBook(SELF, vouches)
    this.do({ tag: 'signed', vendor: VENDOR, infoHash: RELEASE, release: signed })
  }
  do(event: BookEvent): BookEffect[] {
    const effects = step(this.book, event, this.nowMs)
    this.effects.push(...effects)
    return effects
  }
  hear(one: Accusation, draw = 0.5): BookEffect[] {
    return this.do({ tag: 'heard', accusation: one, verified: true, draw })
  }
  judge(judgement: Judgement): BookEffect[] {
    return this.do({ tag: 'judged', judgement })
  }
  /** Answers every check by `verdict` until none is under way. */
  settle(verdict: (of: Accusation) => Judgement): void {
    while (this.book.checking !== undefined) this.judge(verdict(this.book.checking))
  }
  all<T extends BookEffect['tag']>(tag: T): Extract<BookEffect, { tag: T }>[] {
    return this.effects.filter((effect) => effect.tag === tag) as never
  }
}
const checked = (effects: readonly BookEffect[]) =>
  effects.flatMap((effect) => (effect.tag === 'check' ? [effect.accusation] : []))

describe('an accusation', () => {
  test('that holds convicts once and for ever; more about the same key cost nothing', () => {
    const desk = new Desk()
    const first = accusation(key('a'), key('cheat'))
    expect(checked(desk.hear(first))).toEqual([first])
    desk.hear(accusation(key('b'), key('cheat')))
    const effects = desk.judge(VALID)
    expect(effects).toEqual([
      {
        tag: 'ban',
        accusation: first,
        publish: false,
        cheat: {
          key: key('cheat'),
          vendor: VENDOR,
          infoHash: RELEASE,
          author: key('a'),
          buyer: key('buyer'),
          piece: 1,
          block: 2,
          paid: 1000,
          atMs: desk.nowMs,
          from: 'stranger',
        },
      },
    ])
    expect(desk.hear(accusation(key('c'), key('cheat')))).toEqual([])
    expect(desk.book.waiting).toEqual({ known: [], stranger: [] })
  })

  test('that is false bans nobody; its author is not listened to again, even if the next one holds', () => {
    const desk = new Desk()
    desk.hear(accusation(key('liar'), key('honest')))
    desk.hear(accusation(key('liar'), key('other')))
    expect(desk.judge(FALSE)).toEqual([{ tag: 'ignore', author: key('liar'), why: 'block is genuine' }])
    expect(desk.hear(accusation(key('liar'), key('cheat')))).toEqual([])
    expect(desk.book.cheats.size).toBe(0)
  })

  test('in another’s name blames nobody', () => {
    const desk = new Desk()
    desk.hear(accusation(key('framed'), key('x')))
    expect(desk.judge({ tag: 'forged' })).toEqual([])
    expect(checked(desk.hear(accusation(key('framed'), key('cheat'))))).toHaveLength(1)
  })

  test.each<[string, Partial<Accusation>]>([
    ['of another vendor', { vendor: OTHER_VENDOR }],
    ['of a release that is not known', { infoHash: 'ab'.repeat(20) as InfoHash }],
    ['of this party itself', { accused: SELF }],
  ])('%s is dropped unchecked, and its author heard later', (_, of) => {
    const desk = new Desk()
    expect(desk.hear(accusation(key('a'), key('x'), of))).toEqual([])
    expect(checked(desk.hear(accusation(key('a'), key('cheat'))))).toHaveLength(1)
  })

  test('heard twice, from two relays, is checked once', () => {
    const desk = new Desk()
    const one = accusation(key('a'), key('x'))
    expect([...checked(desk.hear(one)), ...checked(desk.hear(one))]).toHaveLength(1)
    expect(desk.book.waiting.stranger).toHaveLength(0)
  })

  test('what an earlier run left is known at once', () => {
    const before = new Desk()
    before.hear(accusation(key('a'), key('cheat')))
    before.judge(VALID)
    before.hear(accusation(key('liar'), key('x')))
    before.judge(FALSE)
    const after = new Desk()
    after.do({
      tag: 'remembered',
      cheats: [...before.book.cheats.values()],
      ignored: [...before.book.ignored],
    })
    expect(after.hear(accusation(key('b'), key('cheat')))).toEqual([])
    expect(after.hear(accusation(key('liar'), key('y')))).toEqual([])
  })
})

describe('who publishes', () => {
  const own: Cheat = {
    key: key('cheat'),
    vendor: VENDOR,
    infoHash: RELEASE,
    author: SELF,
    buyer: SELF,
    piece: 0,
    block: 0,
    paid: msat(1),
    atMs: 1,
    from: 'self',
  }
  test('whoever was cheated, once', () => {
    const desk = new Desk()
    expect(desk.do({ tag: 'cheated', cheat: own })).toMatchObject([{ tag: 'ban', publish: true }])
    expect(desk.do({ tag: 'cheated', cheat: own })).toEqual([])
  })
  test.each<[string, boolean, PartyKey, boolean]>([
    ['a vendor vouches for its own devices', true, key('device'), true],
    ['not for strangers', true, key('stranger'), false],
    ['not for itself', true, SELF, false],
    ['a device vouches for nobody', false, key('device'), false],
  ])('%s', (_, vouches, author, publish) => {
    const desk = new Desk(vouches)
    desk.do({ tag: 'knows', vendor: VENDOR, authors: [key('device')] })
    desk.hear(accusation(author, key('cheat')))
    expect(desk.judge(VALID)).toMatchObject([{ tag: 'ban', publish }])
  })
})

describe('a flood', () => {
  /** One word of anybody, or time. */
  const anyMove = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        tag: fc.constant('hear' as const),
        author: fc.nat(40),
        accused: fc.nat(40),
        draw: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        tag: fc.constant('judge' as const),
        as: fc.constantFrom(VALID, FALSE, { tag: 'forged' } as const),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        tag: fc.constant('wait' as const),
        ms: fc.integer({ min: -5_000, max: 30_000 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ tag: fc.constant('meet' as const), who: fc.nat(40) }) },
  )

  test('of whatever kind: one check at a time, so many a minute, so many waiting; nobody is judged twice', () => {
    fc.assert(
      fc.property(fc.array(anyMove, { maxLength: 400 }), (moves) => {
        const desk = new Desk()
        desk.do({ tag: 'knows', vendor: VENDOR, authors: [0, 1, 2].map(key) })
        const known = new Set([0, 1, 2].map(key))
        const banned = new Set<PartyKey>()
        const ignored = new Set<PartyKey>()
        let open: Accusation | undefined
        const look = (effects: readonly BookEffect[]): void => {
          for (const effect of effects) {
            if (effect.tag === 'ban') banned.add(effect.cheat.key)
            if (effect.tag === 'ignore') ignored.add(effect.author)
            if (effect.tag !== 'check') continue
            expect(open).toBeUndefined()
            open = effect.accusation
            expect(banned.has(open.accused)).toBe(false)
            expect(ignored.has(open.event.pubkey)).toBe(false)
          }
        }
        for (const move of moves) {
          if (move.tag === 'hear') look(desk.hear(accusation(key(move.author), key(move.accused)), move.draw))
          else if (move.tag === 'meet') look(desk.do({ tag: 'met', keys: [key(move.who)] }))
          else if (move.tag === 'wait') {
            desk.nowMs += move.ms
            look(desk.do({ tag: 'tick' }))
          } else if (open !== undefined) {
            const under = open
            open = undefined
            const before = banned.size
            look(desk.judge(move.as))
            expect(banned.size).toBe(before + (move.as.tag === 'valid' ? 1 : 0))
            if (move.as.tag === 'false') expect(ignored.has(under.event.pubkey)).toBe(true)
          }
          const { waiting } = desk.book
          expect(waiting.known.length).toBeLessThanOrEqual(cheatBounds.waiting.known)
          expect(waiting.stranger.length).toBeLessThanOrEqual(cheatBounds.waiting.stranger)
          // Nothing waits idly: what is not under way has used up its minute.
          const idle = open === undefined && waiting.known.length + waiting.stranger.length > 0
          if (idle) expect(desk.effects.at(-1)?.tag).toBe('wake')
        }
        const checks = desk.all('check')
        for (const lane of ['known', 'stranger'] as const) {
          const of = checks.filter(({ accusation: at }) => known.has(at.event.pubkey) === (lane === 'known'))
          const backwards = moves.filter((move) => move.tag === 'wait' && move.ms < 0).length
          const minutes = Math.ceil((desk.nowMs - 1_000_000) / 60_000) + 1 + 2 * backwards
          expect(of.length).toBeLessThanOrEqual(cheatBounds.checks[lane] * Math.max(1, minutes))
        }
      }),
      { numRuns: 150 },
    )
  })

  test('of strangers with fresh keys uses up its own minute, and goes on in the next', () => {
    const desk = new Desk()
    const hearMany = () => {
      for (let i = 0; i < 1000; i++) {
        desk.hear(accusation(key(`fresh ${++serial}`), key(`about ${serial}`)), (i * 0.618) % 1)
        desk.settle(() => FALSE)
      }
    }
    hearMany()
    expect(desk.all('check')).toHaveLength(cheatBounds.checks.stranger)
    expect(desk.book.waiting.stranger).toHaveLength(cheatBounds.waiting.stranger)
    expect(desk.effects.at(-1)).toMatchObject({ tag: 'wake', atMs: desk.nowMs + 60_000 })
    desk.nowMs += 60_000
    desk.do({ tag: 'tick' })
    desk.settle(() => FALSE)
    expect(desk.all('check')).toHaveLength(2 * cheatBounds.checks.stranger)
  })

  test('of one stranger who tells the truth about keys of its own making has a small share', () => {
    const desk = new Desk()
    for (let i = 0; i < 100; i++) {
      desk.hear(accusation(key('prolific'), key(`own ${i}`)))
      desk.settle(() => VALID)
    }
    expect(desk.all('check')).toHaveLength(cheatBounds.checksOfAuthor.stranger)
    desk.hear(accusation(key('other'), key('cheat')))
    expect(desk.book.checking?.accused).toBe(key('cheat'))
  })

  test('never keeps out an author whom the vendor names, however large it is', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 300 }), (draws) => {
        const desk = new Desk()
        desk.do({ tag: 'knows', vendor: VENDOR, authors: [key('device')] })
        for (const draw of draws) {
          desk.hear(accusation(key(`s ${++serial}`), key(`k ${serial}`)), draw)
          if (draw < 0.5) desk.settle(() => FALSE)
        }
        desk.settle(() => FALSE)
        desk.hear(accusation(key('device'), key('cheat')), 0.999)
        desk.settle((of) => (of.accused === key('cheat') ? VALID : FALSE))
        expect(desk.book.cheats.has(key('cheat'))).toBe(true)
      }),
      { numRuns: 20 },
    )
  })

  test('about keys that nobody met never keeps out what is said of one that was', () => {
    const desk = new Desk()
    desk.do({ tag: 'met', keys: [key('cheat')] })
    const flood = () => desk.hear(accusation(key(`s ${++serial}`), key(`k ${serial}`)), 0)
    for (let i = 0; i < 500; i++) flood()
    // Its lot is the worst, and the minute is used up: it waits, and is the first of the next.
    desk.settle(() => FALSE)
    desk.hear(accusation(key('witness'), key('cheat')), 1)
    for (let i = 0; i < 500; i++) flood()
    desk.nowMs += 60_000
    expect(checked(desk.do({ tag: 'tick' }))).toMatchObject([{ accused: key('cheat') }])
  })

  test('of false words about one key leaves each the same chance to be heard', () => {
    let heard = 0
    for (let run = 0; run < 200; run++) {
      const desk = new Desk()
      const lot = (i: number) => ((run * 7919 + i * 104_729) % 65_537) / 65_537
      desk.hear(accusation(key('busy'), key('other')))
      for (let i = 0; i < 16; i++)
        desk.hear(accusation(i === 3 ? key('witness') : key(`s ${run} ${i}`), key('cheat')), lot(i))
      if (desk.book.waiting.stranger.some(({ accusation: at }) => at.event.pubkey === key('witness'))) heard++
      expect(desk.book.waiting.stranger.length).toBe(cheatBounds.waitingAbout)
    }
    expect(heard).toBeGreaterThan(60) // 8 places of 16
    expect(heard).toBeLessThan(140)
  })

  test('of true words about keys of its own making evicts those first, never one that was met, known or own', () => {
    const desk = new Desk()
    const cheat = (of: string, from: Cheat['from']): Cheat => ({
      key: key(of),
      vendor: VENDOR,
      infoHash: RELEASE,
      author: key('a'),
      buyer: key('b'),
      piece: 0,
      block: 0,
      paid: msat(1),
      atMs: 1,
      from,
    })
    desk.do({ tag: 'met', keys: [key('met')] })
    const kept = [cheat('own', 'self'), cheat('known', 'known'), cheat('met', 'stranger')]
    const junk = Array.from({ length: cheatBounds.cheats - kept.length }, (_, i) =>
      cheat(`junk ${i}`, 'stranger'),
    )
    desk.do({ tag: 'remembered', cheats: [...kept, ...junk], ignored: [] })
    desk.hear(accusation(key('x'), key('new')))
    expect(desk.judge(VALID)).toMatchObject([{ tag: 'forget-cheat', key: key('junk 0') }, { tag: 'ban' }])
    expect(desk.book.cheats.size).toBe(cheatBounds.cheats)
    for (const { key: of } of kept) expect(desk.book.cheats.has(of)).toBe(true)
  })

  test('of liars keeps only so many names', () => {
    const desk = new Desk()
    const names = Array.from({ length: cheatBounds.ignored }, (_, i) => [key(`l ${i}`), 'x'] as const)
    desk.do({ tag: 'remembered', cheats: [], ignored: names })
    desk.hear(accusation(key('one more'), key('x')))
    expect(desk.judge(FALSE)).toEqual([
      { tag: 'ignore', author: key('one more'), why: 'block is genuine' },
      { tag: 'forget-ignored', author: key('l 0') },
    ])
    expect(desk.book.ignored.size).toBe(cheatBounds.ignored)
  })
})
