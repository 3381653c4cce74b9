/** Quotes that are changed, replayed or lapsed, and secrets that are used twice: nothing is paid, nothing is opened. */
import { expect, test } from 'vitest'
import { toHex, utf8, type Bytes } from '../../web/core/bytes.ts'
import { paymentHashOf } from '../../web/core/exchange/cipher.ts'
import { FRAME } from '../../web/core/exchange/message.ts'
import { checkProof, decodeProof, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { receiptOf, type SignedQuote } from '../../web/core/exchange/quote.ts'
import { msat, priceOf } from '../../web/core/money/msat.ts'
import { pieceBytes } from '../../web/core/swarm/merkle.ts'
import { cryptWindow } from '../../web/edge/swarm/window-cipher.ts'
import { fraudProof, leavesProve } from '../../web/edge/swarm/window-proof.ts'
import { leafHashes } from '../../web/edge/swarm/window-cipher.ts'
import { decodeInvoice } from '../../web/core/money/bolt11.ts'
import type { PayResult, Wallet } from '../../web/edge/wallet/wallet.ts'
import { droppedFor, GRANT, PRICE, until, whyDropped } from './arena.ts'
import { accounted, finish, lost, whole } from './finish.ts'
import { hostileBuyer, type Taken } from './hostile-buyer.ts'
import { flip, hostileSeller, other, type Script } from './hostile-seller.ts'
import { inArena } from './in-arena.ts'

/** The quote's bytes with one number written anew; the signature is the old one. */
const rewritten = (signed: SignedQuote, from: string, to: string): { bytes: Bytes; sig: Bytes } => {
  const text = Buffer.from(signed.bytes).toString('latin1')
  expect(text).toContain(from)
  return { bytes: new Uint8Array(Buffer.from(text.replace(from, to), 'latin1')), sig: signed.sig }
}
const field = (name: string, value: number): string => `${name.length}:${name}i${value}e`

const changed: [string, RegExp, Script][] = [
  [
    'another amount after signing',
    /did not sign/,
    {
      mangle: (signed) =>
        rewritten(signed, field('amount', signed.quote.amount), field('amount', signed.quote.amount - 1)),
    },
  ],
  [
    'a later expiry after signing',
    /did not sign/,
    {
      mangle: (signed) =>
        rewritten(signed, field('expiry', signed.quote.expiry), field('expiry', signed.quote.expiry + 9)),
    },
  ],
  [
    'other pieces after signing',
    /did not sign/,
    {
      mangle: (signed) => {
        const piece = signed.quote.pieces[0] ?? 0
        return rewritten(signed, `6:piecesli${piece}e`, `6:piecesli${piece === 0 ? 1 : 0}e`)
      },
    },
  ],
  [
    'a flipped bit',
    /did not sign/,
    { mangle: (signed) => ({ bytes: flip(signed.bytes, 99), sig: signed.sig }) },
  ],
  [
    'an expiry two hours off',
    /expires too late/,
    { quote: (quote) => ({ ...quote, expiry: quote.expiry + 7200 }) },
  ],
  ['other money', /other money/, { quote: (quote) => ({ ...quote, money: 'sandbox:else' }) }],
  ['a quote that is none', /did not sign/, { mangle: ({ sig }) => ({ bytes: utf8('d1:vi1ee'), sig }) }],
  [
    'garbage in the place of the signature',
    /did not sign/,
    { mangle: ({ bytes }) => ({ bytes, sig: new Uint8Array(64).fill(5) }) },
  ],
]
const batches = [0, 4].map((from) => changed.slice(from, from + 4))
test.each(batches.map((batch) => [batch.map(([name]) => name).join(', '), batch] as const))(
  '%s: refused, not one sat is paid, the rest comes from another within seconds',
  (_names, batch) =>
    inArena(async (arena) => {
      const hostiles = await Promise.all(batch.map(([, , script]) => hostileSeller(arena, script)))
      const device = await arena.device()
      for (const hostile of hostiles) await until(device.download, droppedFor(hostile.identity.key))
      expect(device.download.get().paid).toBe(0)
      expect(await finish(arena, device)).toBeLessThan(15_000)
      for (const [i, hostile] of hostiles.entries()) {
        expect(whyDropped(device, hostile.identity.key)).toMatch(batch[i]?.[1] ?? /never/)
        expect(await lost(hostile)).toBe(0)
      }
    }),
)

test('the quote of an earlier window, shown again for a later one, is not paid again', () =>
  inArena(async (arena) => {
    const hostile = await hostileSeller(arena, {
      honestFor: 1,
      mangle: (signed, deals) => deals[0]?.signed ?? signed,
    })
    const device = await arena.device()
    await until(device.download, droppedFor(hostile.identity.key))
    expect(whyDropped(device, hostile.identity.key)).toMatch(/twice/)
    await finish(arena, device)
    const [first] = hostile.deals
    expect(await lost(hostile)).toBe(first?.signed.quote.amount)
    await accounted(device)
  }))

/** A wallet that keeps an account of what it was asked to pay, and refuses while it is told to. */
function watched(
  purse: Wallet,
  nowMs: () => number,
): Wallet & { refuse: boolean; expired: number; asked: number } {
  const wallet = {
    ...purse,
    refuse: false,
    expired: 0,
    asked: 0,
    pay(bolt11: string): Promise<PayResult> {
      wallet.asked++
      const read = decodeInvoice(bolt11)
      if (!read.ok || read.invoice.expiresAtMs <= nowMs()) wallet.expired++
      if (wallet.refuse)
        return Promise.resolve({ tag: 'failed', code: 'unauthorized', message: 'not now' } as const)
      return purse.pay(bolt11)
    },
  }
  return wallet
}

test('a quote that lapses while the wallet refuses is never paid: its pieces are asked for anew', () =>
  inArena(async (arena) => {
    const self = await arena.member('device', { full: false, balance: GRANT })
    await self.leave()
    const wallet = watched(self.wallet, arena.nowMs)
    wallet.refuse = true
    await arena.seller()
    const device = await arena.device({}, { ...self, wallet })
    await until(device.download, () => wallet.asked > 0)
    arena.skip(121_000)
    wallet.refuse = false
    await whole(arena, device)
    expect(wallet.expired).toBe(0)
    await accounted(device)
  }, 1))

test('an earlier window’s secret opens nothing else: each quote has its own, from the seller’s key and the quote’s id', () =>
  inArena(async (arena) => {
    const seller = await arena.seller()
    const buyer = await hostileBuyer(arena, { balance: GRANT })
    const peer = await buyer.wireTo()
    const first = (await buyer.take(peer, [0])) as Taken
    expect(await buyer.wallet.pay(first.signed.quote.invoice)).toMatchObject({ tag: 'paid' })
    const secret = await buyer.keyOf(first.signed.quote.id)
    const opened = await cryptWindow(secret, first.signed.quote.id, first.ciphertext)
    expect(leavesProve(await leafHashes(opened), [0], arena.meta)).toBe(true)
    // The same piece again, unpaid: another secret, another hash, another ciphertext.
    const again = (await buyer.take(peer, [0])) as Taken
    const next = (await buyer.take(peer, [1])) as Taken
    for (const { signed, ciphertext } of [again, next]) {
      expect(signed.quote.paymentHash).not.toBe(paymentHashOf(secret))
      for (const id of [signed.quote.id, first.signed.quote.id]) {
        const tried = await cryptWindow(secret, id, ciphertext)
        expect(leavesProve(await leafHashes(tried), [...signed.quote.pieces], arena.meta)).toBe(false)
      }
    }
    expect(buyer.keys.size).toBe(1)
    expect(await seller.wallet.balance()).toBe(first.signed.quote.amount)
  }))

test('no proof can be made of an honest window: not with its own bytes, not by another release of the same vendor', () =>
  inArena(async (arena) => {
    await arena.seller()
    const buyer = await hostileBuyer(arena, { balance: GRANT })
    const { signed, ciphertext, leaves } = (await buyer.take(await buyer.wireTo(), [0])) as Taken
    expect(await buyer.wallet.pay(signed.quote.invoice)).toMatchObject({ tag: 'paid' })
    const secret = await buyer.keyOf(signed.quote.id)
    const receipt = receiptOf(signed, toHex(secret))
    const { meta } = arena
    const wrong = { piece: 0, block: 0, index: 0 }
    const proof = decodeProof(await fraudProof(receipt, ciphertext, leaves, wrong, meta)) as FraudProof
    const release = { root: meta.piecesRoot, shape: meta }
    const why = (told: FraudProof, signedRelease: Parameters<typeof checkProof>[1]) => {
      const found = checkProof(told, signedRelease)
      return found.ok ? 'convicted' : found.why
    }
    expect(why(proof, release)).toBe('block is genuine')
    expect(why({ ...proof, ciphertext: flip(proof.ciphertext) }, release)).toBe('ciphertext path')
    expect(why({ ...proof, leaf: flip(proof.leaf) }, release)).toBe('release path')
    // The vendor signs the same bytes in other pieces, or other bytes under the old name: neither is what was sold.
    const halved = { length: meta.length, pieceLength: meta.pieceLength / 2 }
    expect(why(proof, { root: meta.piecesRoot, shape: halved })).toBe('not of this release')
    expect(why(proof, { root: other(meta.piecesRoot), shape: meta })).toBe('not of this release')
  }))

test('a seller that uses one secret for two buyers gives the second its goods for nothing; nobody pays twice', () =>
  inArena(async (arena) => {
    let secret: Bytes | undefined
    let invoice: string | undefined
    const hostile = await hostileSeller(arena, {
      secret: (own) => (secret ??= own),
      invoice: async ({ amount, secret }) =>
        (invoice ??= (
          await hostile.wallet.makeInvoice({
            amount,
            description: 'x',
            expirySeconds: 120,
            preimage: toHex(secret),
          })
        ).bolt11),
    })
    const buyer = await hostileBuyer(arena)
    const got = (await buyer.take(await buyer.wireTo(), [0])) as Taken
    const device = await arena.device()
    await until(device.download, ({ have }) => have > 0)
    const [receipt] = device.download.receipts()
    // Whoever shares its receipt opens the other window too: the loss is the seller's.
    const shared = new Uint8Array(Buffer.from(receipt?.preimage ?? '', 'hex'))
    const opened = await cryptWindow(shared, got.signed.quote.id, got.ciphertext)
    expect(leavesProve(await leafHashes(opened), [0], arena.meta)).toBe(true)
    expect(await lost(hostile)).toBeLessThanOrEqual(got.signed.quote.amount)
    await accounted(device)
  }, 1))

test('a gift whose secret comes before its ciphertext is opened when it is here', () =>
  inArena(async (arena) => {
    let ciphertext: Bytes = new Uint8Array()
    const giver = await hostileSeller(arena, {
      price: msat(0),
      gift: true,
      sent: (whole) => {
        ciphertext = whole
        return whole.subarray(0, 0)
      },
      invoice: () => Promise.resolve(''),
      afterQuote: ({ peer, request, signed, secret }) => {
        peer.send({ t: 'key', quote: signed.quote.id, secret })
        for (let at = 0; at < ciphertext.length; at += FRAME)
          peer.send({ t: 'data', id: request, at, bytes: ciphertext.slice(at, at + FRAME) })
      },
    })
    const device = await arena.device()
    await whole(arena, device)
    expect(giver.requests()).toBe(1)
    expect(device.download.get().paid).toBe(0)
  }, 1))

test('the short last piece costs by its bytes, and not a msat more is paid for it', () =>
  inArena(async (arena) => {
    const bytes = pieceBytes(arena.meta, arena.meta.pieces - 1)
    expect(bytes).toBeLessThan(arena.meta.pieceLength)
    const dear = await hostileSeller(arena, {
      quote: (quote) => ({ ...quote, amount: msat(priceOf(arena.meta.pieceLength, PRICE) + 1) }),
    })
    const device = await arena.device()
    await until(device.download, droppedFor(dear.identity.key))
    expect(whyDropped(device, dear.identity.key)).toMatch(/above the offered price/)
    await finish(arena, device)
    const rows = device.download.get().windows
    for (const row of rows) expect(row.amountMsat).toBe(priceOf(row.bytes, PRICE))
    expect(rows.reduce((sum, row) => sum + row.bytes, 0)).toBe(arena.meta.length)
    expect(device.download.get().paid).toBeLessThanOrEqual(priceOf(arena.meta.length, PRICE) + rows.length)
  }, 1))

test('wrong bytes in the short last block are proven too', () =>
  inArena(async (arena) => {
    const hostile = await hostileSeller(arena, {
      plain: (bytes) => void (bytes[bytes.length - 1]! ^= 1),
    })
    const device = await arena.device()
    await until(device.download, droppedFor(hostile.identity.key))
    expect(whyDropped(device, hostile.identity.key)).toMatch(/fraud/)
    expect(await lost(hostile)).toBe(priceOf(arena.meta.length, PRICE))
    await finish(arena, device)
  }, 1))
