import { expect, test, vi } from 'vitest'
import { sha256Hex } from '../../core/bytes.ts'
import * as quotes from '../../core/exchange/quote.ts'
import { shopScene } from './shop.sample.ts'

vi.mock('../../core/exchange/quote.ts', { spy: true })

const HASH = sha256Hex(new Uint8Array(1))

test('a debt is renewed for nobody but its buyer, and no signature is checked for anybody who asks', async () => {
  const { shop, join } = shopScene({ length: 65_536, pieceLength: 65_536 }, [], {
    makeInvoice: ({ amount }) =>
      Promise.resolve({ bolt11: 'lnbcrt', paymentHash: HASH, amount, expiresAtMs: 0 }),
  })
  await shop.start()
  const buyer = join('buyer')
  buyer.say({ t: 'request', id: 1, pieces: [0] })
  const frame = await vi.waitUntil(() => buyer.heard.find((message) => message.t === 'quote'))
  const quote = quotes.openQuote(frame.quote, frame.sig)?.quote.id
  if (quote === undefined) throw new Error('no quote')
  vi.mocked(quotes.openQuote).mockClear()
  const stranger = join('stranger')
  for (let id = 1; id <= 20; id++) for (const peer of [stranger, buyer]) peer.say({ t: 'renew', id, quote })
  await vi.waitUntil(() => buyer.heard.filter(({ t }) => t === 'quote').length === 21)
  expect(stranger.heard.filter(({ t }) => t === 'refuse')).toHaveLength(20)
  expect(stranger.said('quote')).toBe(false)
  expect(quotes.openQuote).not.toHaveBeenCalled()
  await shop.stop()
})
