import { expect, test, vi } from 'vitest'
import * as buyers from '../../core/swarm/buyer.ts'
import { muteWallet, scene } from './download.sample.ts'

vi.mock('../../core/swarm/buyer.ts', { spy: true })

const PIECE = 65_536

const joined = () =>
  vi.mocked(buyers.step).mock.calls.flatMap(([, event]) => (event.tag === 'joined' ? [event] : []))

test('a flood of lines of credit is followed now and then, the first at once and the last in the end', async () => {
  vi.useFakeTimers()
  try {
    const { download, seller } = scene(
      { length: 64 * PIECE, pieceLength: PIECE },
      { wallet: muteWallet(), mode: 'credit' },
    )
    await download.start()
    const lender = seller('lender')
    lender.offer()
    const before = joined().length
    for (let n = 0; n < 1000; n++) lender.say({ t: 'credit', bytes: (8 + 4 * (n % 8)) * PIECE })
    expect(
      joined()
        .slice(before)
        .map(({ maxWindowBytes }) => maxWindowBytes),
    ).toEqual([2 * PIECE])
    await vi.advanceTimersByTimeAsync(1000)
    expect(
      joined()
        .slice(before + 1)
        .map(({ maxWindowBytes }) => maxWindowBytes),
    ).toEqual([9 * PIECE])
    lender.say({ t: 'credit', bytes: 36 * PIECE })
    expect(joined()).toHaveLength(before + 2)
    await download.stop()
    expect(vi.getTimerCount()).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})
