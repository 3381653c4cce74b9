import { expect, test } from 'vitest'
import { signOffer } from '../../core/exchange/offer.ts'
import { msat } from '../../core/money/msat.ts'
import { fakePool, fakeVendor, party } from './fake-parts.ts'
import { hearOthers } from './others.ts'

const MONEY = 'sandbox:relay'

test('sellers whose offers have expired take no place from others', () => {
  const pool = fakePool()
  const { infoHash } = fakeVendor(7, 'Acme').release('os', '1')
  let nowMs = 1_000_000
  const others = hearOthers({
    pool,
    self: party(1).key,
    money: MONEY,
    nowMs: () => nowMs,
    onChange: () => undefined,
  })
  others.listen([infoHash])
  const offer = (n: number): void => {
    const nowS = nowMs / 1000
    const secret = new Uint8Array(32).fill(1)
    new DataView(secret.buffer).setUint16(0, n)
    const terms = {
      infoHash,
      money: MONEY,
      price: msat(n),
      modes: ['atomic'],
      maxWindowBytes: 16_384,
    } as const
    pool.say(signOffer({ ...terms, expiresAtS: nowS + 60 }, secret, new Uint8Array(32), nowS))
  }
  for (let n = 2; n < 252; n++) offer(n)
  expect(others.of(infoHash)).toHaveLength(200)
  nowMs += 60_000
  offer(300)
  expect(others.of(infoHash).map(({ price }) => price)).toEqual([300])
})
