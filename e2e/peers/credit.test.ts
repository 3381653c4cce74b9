/** Credit: a seller whose wallet can neither hold nor take a preimage, against buyers that pay, do not, or crash. */
import { describe, expect, test } from 'vitest'
import { toHex, type Bytes, type Sha256Hex } from '../../web/core/bytes.ts'
import { FRAME } from '../../web/core/exchange/message.ts'
import { signOffer } from '../../web/core/exchange/offer.ts'
import { signQuote, verifyReceipt, type Quote } from '../../web/core/exchange/quote.ts'
import { msat, priceOf } from '../../web/core/money/msat.ts'
import { pieceBytes, rootOfLeaves } from '../../web/core/swarm/merkle.ts'
import type { Peer } from '../../web/edge/swarm/peer.ts'
import type { SaleRow } from '../../web/edge/swarm/api.ts'
import { leafHashes } from '../../web/edge/swarm/window-cipher.ts'
import type { PayResult, Wallet } from '../../web/edge/wallet/wallet.ts'
import { CAP, GRANT, PIECE, PRICE, until, type Arena, type Member, type Self } from './arena.ts'
import { finish } from './finish.ts'
import { inArena } from './in-arena.ts'

/** Makes ordinary invoices and pays them; tells of no payment, by notification or when asked. */
const plain = (wallet: Wallet): Wallet => ({
  ...wallet,
  info: async () => ({ ...(await wallet.info()), features: new Set(['pay', 'receive'] as const) }),
  makeInvoice: (request) => {
    expect(request.preimage).toBeUndefined()
    return wallet.makeInvoice(request)
  },
  makeHoldInvoice: () => Promise.reject(new Error('cannot hold')),
  lookUp: () => Promise.reject(new Error('does not tell')),
  onEvent: () => () => undefined,
  onConnection: () => () => undefined,
})

async function party(arena: Arena, full: boolean, wrap: (wallet: Wallet) => Wallet): Promise<Self> {
  const member = await arena.member('party', { full, balance: full ? msat(0) : GRANT })
  await member.leave()
  return { ...member, wallet: wrap(member.wallet) }
}

/** Serves each request at once, on credit, as `spoil` leaves it. */
function creditSeller(
  arena: Arena,
  { session, identity, wallet, store }: Member,
  spoil: (bytes: Bytes) => void,
) {
  const { meta } = session
  const aux = () => crypto.getRandomValues(new Uint8Array(32))
  const nowS = Math.floor(arena.nowMs() / 1000)
  const terms = {
    infoHash: meta.infoHash,
    money: 'sandbox:arena' as const,
    price: PRICE,
    maxWindowBytes: PIECE,
  }
  const offer = signOffer(
    { ...terms, modes: ['credit'], expiresAtS: nowS + 3600 },
    identity.secret,
    aux(),
    nowS,
  )
  const done = { quotes: 0 }
  async function serve(peer: Peer, request: number, pieces: readonly number[]): Promise<void> {
    const bytes = await store.read(pieces[0]! * meta.pieceLength, pieceBytes(meta, pieces[0]!))
    spoil(bytes)
    const amount = priceOf(bytes.length, PRICE)
    const { bolt11, paymentHash } = await wallet.makeInvoice({ amount, description: 'x', expirySeconds: 600 })
    for (let at = 0; at < bytes.length; at += FRAME)
      peer.send({ t: 'data', id: request, at, bytes: bytes.slice(at, at + FRAME) })
    const quote: Quote = {
      id: toHex(aux()) as Sha256Hex,
      buyer: peer.key!,
      seller: identity.key,
      root: meta.piecesRoot,
      shape: { length: meta.length, pieceLength: meta.pieceLength },
      pieces,
      cipherRoot: toHex(rootOfLeaves(await leafHashes(bytes))) as Sha256Hex,
      paymentHash,
      amount,
      money: 'sandbox:arena',
      mode: 'credit',
      expiry: nowS + 600,
      invoice: bolt11,
    }
    const signed = signQuote(quote, identity.secret, aux())
    peer.send({ t: 'quote', id: request, quote: signed.bytes, sig: signed.sig })
    done.quotes++
  }
  session.attach({
    joined: (peer) => peer.send({ t: 'offer', event: JSON.stringify(offer), gift: false }),
    message: (peer, message) => {
      if (message.t === 'request') void serve(peer, message.id, message.pieces)
    },
  })
  return done
}

const priceOfAll = (arena: Arena) => Math.ceil((arena.meta.length * PRICE) / 2 ** 20)
const largest = (windows: readonly { bytes: number }[]) => Math.max(...windows.map(({ bytes }) => bytes))

describe('on credit', () => {
  test('a device buys everything from a plain wallet, in windows that grow, and every receipt checks', () =>
    inArena(async (arena) => {
      const shop = await party(arena, true, plain)
      const seller = await arena.seller({}, shop)
      const device = await arena.device()
      await device.download.settled
      expect(arena.intact(device)).toBe(true)
      const { windows, paid, boughtTwice } = device.download.get()
      expect(boughtTwice).toBe(0)
      expect(Math.abs(paid - priceOfAll(arena))).toBeLessThan(windows.length + 1)
      expect(await shop.wallet.balance()).toBe(paid)
      expect(Math.min(...windows.map(({ pieces }) => pieces.length))).toBe(1)
      expect(largest(windows)).toBeGreaterThan(PIECE)
      const against = { root: arena.meta.piecesRoot, shape: arena.meta, cap: CAP, buyer: device.identity.key }
      for (const receipt of device.download.receipts()) {
        const check = verifyReceipt(receipt, against)
        expect(check).toMatchObject({ ok: true, quote: { mode: 'credit' } })
      }
      // The seller knows from the preimages alone: its wallet tells nothing.
      await until(seller.shop, ({ earned, unpaidBytes }) => earned === paid && unpaidBytes === 0)
      expect(await shop.journal.keys('debt/')).toEqual([])
    }, 48))

  test('a buyer that never pays has one piece and is served no other; the next key still is', () =>
    inArena(async (arena) => {
      const seller = await arena.seller({ unprovenBytes: 2 * PIECE }, await party(arena, true, plain))
      const stingy = (wallet: Wallet): Wallet => ({
        ...wallet,
        pay: () => new Promise<PayResult>(() => undefined),
      })
      const unpaid = ({ state }: SaleRow): boolean => state === 'waiting'
      const had: number[] = []
      for (const pieces of [1, 1]) {
        const self = await party(arena, false, stingy)
        const device = await arena.device({}, self)
        await until(device.download, ({ have }) => have === pieces)
        await until(seller.shop, ({ sales }) => sales.filter(unpaid).length === had.length + 1)
        had.push(device.download.get().have)
        await device.kill()
        // The same key on another wire is no stranger.
        const again = await arena.device({}, self)
        await until(again.download, ({ state }) => state.tag !== 'stopped')
        expect(again.download.get().have).toBe(1)
        await again.kill()
      }
      expect(had).toEqual([1, 1])
      // The pool for strangers is spent: the third, honest or not, gets nothing until somebody pays.
      const third = await arena.device()
      await until(seller.session.peers, ({ provenKeys }) => provenKeys.includes(third.identity.key))
      expect(seller.shop.get().uploadedBytes).toBeLessThanOrEqual(2 * PIECE)
      expect(seller.shop.get().sales.filter(unpaid)).toHaveLength(2)
      expect(third.download.get().have).toBe(0)
      await third.kill()
    }))

  test('wrong pieces are not paid for, and the seller is left', () =>
    inArena(async (arena) => {
      const seller = await arena.member('hostile', { full: true })
      const hostile = creditSeller(arena, seller, (bytes) => void (bytes[7]! ^= 1))
      const device = await arena.device()
      await until(device.download, ({ sellers }) => sellers.some(({ dropped }) => dropped !== undefined))
      expect(device.download.get()).toMatchObject({ have: 0, paid: 0 })
      expect(hostile.quotes).toBe(1)
      expect(await seller.wallet.balance()).toBe(0)
      await finish(arena, device)
    }))

  test('a buyer that crashed owing pays after its restart, once', () =>
    inArena(async (arena) => {
      const shop = await party(arena, true, plain)
      const seller = await arena.seller({}, shop)
      let asked: () => void = () => undefined
      const asking = new Promise<void>((done) => (asked = done))
      const self = await party(arena, false, (wallet) => wallet)
      const dying: Wallet = {
        ...self.wallet,
        pay: () => {
          asked()
          return new Promise<PayResult>(() => undefined)
        },
      }
      const first = await arena.device({}, { ...self, wallet: dying })
      await asking
      await until(first.download, ({ have }) => have === 1)
      await first.kill()
      expect(await self.wallet.balance()).toBe(GRANT)
      const second = await arena.device({}, self)
      await second.download.settled
      const { paid, boughtTwice, windows } = second.download.get()
      expect(boughtTwice).toBe(0)
      expect(windows.flatMap(({ pieces }) => pieces).sort()).toEqual([0, 1, 2, 3, 4])
      expect(await self.wallet.balance()).toBe(GRANT - paid)
      expect(await shop.wallet.balance()).toBe(paid)
      await until(seller.shop, ({ earned, unpaidBytes }) => earned === paid && unpaidBytes === 0)
    }))

  test('a seller that crashed while owed knows the debt, and takes the preimage for payment', () =>
    inArena(async (arena) => {
      const shop = await party(arena, true, plain)
      const first = await arena.seller({}, shop)
      const self = await party(arena, false, (wallet) => wallet)
      let pay: () => void = () => undefined
      const gate = new Promise<void>((done) => (pay = done))
      let asked: () => void = () => undefined
      const asking = new Promise<void>((done) => (asked = done))
      const slow: Wallet = {
        ...self.wallet,
        pay: async (invoice) => {
          asked()
          await gate
          return self.wallet.pay(invoice)
        },
      }
      const device = await arena.device({}, { ...self, wallet: slow })
      await asking
      await first.kill()
      expect(await shop.journal.keys('debt/')).toHaveLength(1)
      // Paid while nobody listens.
      pay()
      await until(device.download, ({ windows }) => windows.length === 1)
      const second = await arena.seller({}, shop)
      await device.download.settled
      const { paid } = device.download.get()
      expect(arena.intact(device)).toBe(true)
      expect(await shop.wallet.balance()).toBe(paid)
      await until(second.shop, ({ earned }) => earned === paid)
      expect(await shop.journal.keys('debt/')).toEqual([])
    }))

  test('an invoice that lapsed while the device was off is renewed, and paid once', () =>
    inArena(async (arena) => {
      const shop = await party(arena, true, plain)
      const seller = await arena.seller({}, shop)
      const self = await party(arena, false, (wallet) => wallet)
      const invoices: string[] = []
      let asked: () => void = () => undefined
      const asking = new Promise<void>((done) => (asked = done))
      const dying: Wallet = {
        ...self.wallet,
        pay: (invoice) => {
          invoices.push(invoice)
          asked()
          return new Promise<PayResult>(() => undefined)
        },
      }
      const first = await arena.device({}, { ...self, wallet: dying })
      await asking
      await until(first.download, ({ have }) => have === 1)
      await first.kill()
      // Past the invoice (600 s), the wallet's last start (300 s) and the seller's patience (30 s): nothing may still pay it.
      arena.skip(1_000_000)
      await until(seller.shop, ({ unpaidBytes }) => unpaidBytes === 0)
      const noting: Wallet = {
        ...self.wallet,
        pay: (invoice) => {
          invoices.push(invoice)
          return self.wallet.pay(invoice)
        },
      }
      const second = await arena.device({}, { ...self, wallet: noting })
      await second.download.settled
      expect(arena.intact(second)).toBe(true)
      const { paid, windows } = second.download.get()
      expect(windows.filter(({ pieces }) => pieces[0] === windows[0]?.pieces[0])).toHaveLength(1)
      expect(new Set(invoices).size).toBe(invoices.length)
      expect(await shop.wallet.balance()).toBe(paid)
      await until(seller.shop, ({ earned }) => earned === paid)
    }))
})
