import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Message } from '../../web/core/exchange/message.ts'
import { Arena, PIECE, until, type Member } from './arena.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open()
})
afterEach(() => arena.close())

type Thief = Member & { readonly taken: () => number; readonly over: Promise<void> }

/** Asks for one piece after the other and never pays; `onQuote` says what it does with a quote. */
async function thief(arena: Arena, cancels: 'never' | 'after the quote' | 'half way'): Promise<Thief> {
  const member = await arena.member('thief', { full: false })
  let taken = 0
  let next = 0
  let done: () => void = () => undefined
  const over = new Promise<void>((resolve) => (done = resolve))
  member.session.attach({
    joined: (peer) => {
      peer.send({ t: 'request', id: ++next, pieces: [next % arena.meta.pieces] })
    },
    message: (peer, message: Message) => {
      if (message.t === 'data') {
        taken += message.bytes.length
        if (cancels !== 'half way' || message.at !== 2 * 65_536) return
      } else if (message.t === 'refuse') return done()
      else if (message.t !== 'quote') return
      if (cancels !== 'never') peer.send({ t: 'cancel', id: message.id })
      peer.send({ t: 'request', id: ++next, pieces: [next % arena.meta.pieces] })
    },
  })
  return { ...member, taken: () => taken, over }
}

describe('a hostile buyer', () => {
  test.each(['never', 'after the quote', 'half way'] as const)(
    'who takes ciphertext, cancels %s and never pays gets no more than the bytes for unproven keys',
    async (cancels) => {
      const unprovenBytes = 6 * PIECE
      const friend = await arena.member('friend', { full: false })
      const seller = await arena.seller({ unprovenBytes, approved: [friend.identity.key] })
      let taken = 0
      // Fresh keys are free: three of them share one bound.
      for (let n = 0; n < 3; n++) {
        const one = await thief(arena, cancels)
        await one.over
        taken += one.taken()
      }
      expect(taken).toBeGreaterThan(0)
      expect(taken).toBeLessThanOrEqual(unprovenBytes)
      expect(seller.shop.get().unpaidBytes).toBeLessThanOrEqual(unprovenBytes)
      expect(await seller.wallet.balance()).toBe(0)
    },
  )

  test('does not keep approved keys from buying', async () => {
    const unprovenBytes = 2 * PIECE
    const self = await arena.member('friend', { full: false, balance: arenaGrant })
    await self.leave()
    const seller = await arena.seller({ unprovenBytes, approved: [self.identity.key] })
    await (
      await thief(arena, 'never')
    ).over
    const device = await arena.device({}, self)
    await device.download.complete
    expect(arena.intact(device)).toBe(true)
    expect(await seller.wallet.balance()).toBe(device.download.get().paid)
  })

  test('who asks for more than eight windows at once, for what is not there, or for too much is refused', async () => {
    await arena.seller()
    const member = await arena.member('greedy', { full: false })
    const codes: string[] = []
    await new Promise<void>((done) => {
      member.session.attach({
        joined: (peer) => {
          peer.send({ t: 'request', id: 1, pieces: [arena.meta.pieces] })
          for (let id = 2; id < 12; id++) peer.send({ t: 'request', id, pieces: [0] })
        },
        message: (_, message) => {
          if (message.t !== 'refuse') return
          codes.push(message.code)
          if (codes.length === 3) done()
        },
      })
    })
    expect(codes).toEqual(['missing', 'busy', 'busy'])
  })

  test('who comes as a distributor gets a gift only while copies last', async () => {
    await arena.seller({ gifts: { to: 'distributors', copies: 1 } })
    const gifts: boolean[] = []
    for (let n = 0; n < 2; n++) {
      const member = await arena.member('taker', { full: false, role: 'distributor' })
      await new Promise<void>((done) => {
        member.session.attach({
          message: (_, message) => {
            if (message.t !== 'offer') return
            gifts.push(message.gift)
            done()
          },
        })
      })
    }
    expect(gifts).toEqual([true, false])
    expect((await until((await arena.seller()).shop, () => true)).giftsLeft).toBe(0)
  })
})
const arenaGrant = 10_000_000 as NonNullable<Parameters<Arena['member']>[1]['balance']>
