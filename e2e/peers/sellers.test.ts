import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toHex, type PartyKey } from '../../web/core/bytes.ts'
import { checkProof, decodeProof, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { msat } from '../../web/core/money/msat.ts'
import { Arena, droppedFor, ONE_PIECE, PRICE, until, whyDropped, type Device } from './arena.ts'
import { finish as ended, lost } from './finish.ts'
import { flip, hostileSeller, other, type Deal, type HostileSeller, type Script } from './hostile-seller.ts'

let arena: Arena
beforeEach(async () => {
  arena = await Arena.open()
})
afterEach(() => arena.close())

const finish = (device: Device): Promise<number> => ended(arena, device)

describe('a hostile seller costs its bound, is dropped, and the download goes on', () => {
  test('wrong bytes: the proof of fraud convicts, one piece’s price is lost', async () => {
    const hostile = await hostileSeller(arena, { plain: (bytes) => void bytes.set([1, 2, 3], 70_000) })
    const device = await arena.device()
    const accused = new Promise<{ proof: FraudProof; seller: PartyKey }>((done) =>
      device.download.onFraud((bytes, seller) => done({ proof: decodeProof(bytes) as FraudProof, seller })),
    )
    const { proof, seller } = await accused
    expect(seller).toBe(hostile.identity.key)
    expect(checkProof(proof, { root: arena.meta.piecesRoot, shape: arena.meta })).toMatchObject({
      ok: true,
      seller,
    })
    await finish(device)
    expect(await lost(hostile)).toBeLessThanOrEqual(ONE_PIECE)
    expect(await lost(hostile)).toBeGreaterThan(0)
    expect(whyDropped(device, seller)).toMatch(/fraud/)
    expect(await device.journal.keys(`fraud/`)).toHaveLength(1)
  })

  test('wrong bytes after honest windows: at most the risk budget is lost', async () => {
    const riskBudget = msat(2500)
    const hostile = await hostileSeller(arena, {
      honestFor: 1,
      plain: (bytes) => void bytes.set(flip(bytes, 5)),
    })
    const device = await arena.device({ riskBudget })
    await until(device.download, droppedFor(hostile.identity.key))
    const good = device.download.get().have
    expect(good).toBeGreaterThanOrEqual(1)
    await finish(device)
    expect(await lost(hostile)).toBeLessThanOrEqual(riskBudget + ONE_PIECE)
  })

  const invoiceOf =
    (change: (amount: number) => number) =>
    (get: () => HostileSeller): NonNullable<Script['invoice']> =>
    async ({ amount, secret }) => {
      const { bolt11 } = await get().wallet.makeInvoice({
        amount: msat(change(amount)),
        description: 'x',
        expirySeconds: 120,
        preimage: toHex(secret),
      })
      return bolt11
    }
  const rows: [string, RegExp, (get: () => HostileSeller) => Script][] = [
    ['ciphertext off its root', /off its root/, () => ({ sent: (bytes) => flip(bytes, 99) })],
    ['leaves that do not prove', /not the release/, () => ({ leaves: (leaves) => flip(leaves) })],
    ['too few leaves', /number of block hashes/, () => ({ leaves: (leaves) => leaves.slice(32) })],
    ['data past the window', /out of place/, () => ({ sent: (bytes) => new Uint8Array([...bytes, 1]) })],
    [
      'an invoice for another amount',
      /another amount/,
      (get) => ({ invoice: invoiceOf((amount) => amount + 1)(get) }),
    ],
    [
      'an invoice for another hash',
      /another hash/,
      (get) => ({
        invoice: async ({ amount }) => {
          const ask = { amount, description: 'x', expirySeconds: 120 }
          return (await get().wallet.makeInvoice({ ...ask, preimage: '77'.repeat(32) })).bolt11
        },
      }),
    ],
    ['no invoice', /unreadable/, () => ({ invoice: () => Promise.resolve('lnbcrt1garbage') })],
    [
      'a quote above the offer',
      /above the offered price/,
      () => ({ quote: (quote) => ({ ...quote, amount: msat(quote.amount + 1) }) }),
    ],
    [
      'an expired quote',
      /expired/,
      () => ({ quote: (quote) => ({ ...quote, expiry: quote.expiry - 1000 }) }),
    ],
    [
      'a quote for another buyer',
      /another buyer/,
      () => ({ quote: (quote) => ({ ...quote, buyer: other(quote.buyer) as string as PartyKey }) }),
    ],
    [
      'a quote for another release',
      /another release/,
      () => ({ quote: (quote) => ({ ...quote, root: other(quote.root) }) }),
    ],
    [
      'a quote for other pieces',
      /other pieces/,
      () => ({ quote: (quote) => ({ ...quote, pieces: [(quote.pieces[0] ?? 0) + 1] }) }),
    ],
    [
      'a quote in another’s name',
      /did not sign/,
      () => ({ quote: (quote) => ({ ...quote, seller: other(quote.seller) as string as PartyKey }) }),
    ],
  ]
  // A tracker brings five peers at a time together: more hostile sellers than that would be waited for.
  const batches = [0, 4, 8, 12].map((from) => rows.slice(from, from + 4))
  test.each(batches.map((batch) => [batch.map(([name]) => name).join(', '), batch] as const))(
    '%s: not one sat is paid',
    async (_names, batch) => {
      const hostiles = await Promise.all(
        batch.map(async ([, , script]) => {
          let self: HostileSeller | undefined
          return (self = await hostileSeller(
            arena,
            script(() => self as HostileSeller),
          ))
        }),
      )
      const device = await arena.device()
      for (const hostile of hostiles) await until(device.download, droppedFor(hostile.identity.key))
      expect(device.download.get().paid).toBe(0)
      await finish(device)
      for (const [i, hostile] of hostiles.entries()) {
        const [name, why] = batch[i] as (typeof rows)[number]
        expect(whyDropped(device, hostile.identity.key), name).toMatch(why)
        expect(await lost(hostile), name).toBe(0)
      }
    },
    40_000,
  )

  test('a secret used twice is not paid twice', async () => {
    let first: Uint8Array<ArrayBuffer> | undefined
    const hostile = await hostileSeller(arena, {
      secret: (own) => (first ??= own),
      invoice: replay(() => hostile),
    })
    const device = await arena.device()
    await until(device.download, droppedFor(hostile.identity.key))
    expect(whyDropped(device, hostile.identity.key)).toMatch(/twice/)
    await finish(device)
    expect(new Set(device.download.receipts().map(({ preimage }) => preimage)).size).toBe(
      device.download.receipts().length,
    )
  })
  function replay(get: () => HostileSeller): NonNullable<Script['invoice']> {
    let kept: string | undefined
    return async ({ amount, secret }) => {
      const ask = { amount, description: 'x', expirySeconds: 120, preimage: toHex(secret) }
      return (kept ??= (await get().wallet.makeInvoice(ask)).bolt11)
    }
  }

  test('a quote replayed to another buyer is refused', async () => {
    const hostile = await hostileSeller(arena, {})
    const first = await arena.device()
    await hostile.acted
    const replayed = (hostile.deals[0] as Deal).signed.quote
    const second = await hostileSeller(arena, { quote: () => ({ ...replayed, seller: second.identity.key }) })
    const device = await arena.device()
    await until(device.download, droppedFor(second.identity.key))
    expect(whyDropped(device, second.identity.key)).toMatch(/another buyer|twice|other pieces/)
    await first.download.complete
    await device.download.complete
    expect(await lost(second)).toBe(0)
  })

  test('free at first, dear in the quote: nothing is paid above what the request was made at', async () => {
    const hostile = await hostileSeller(arena, {
      gift: true,
      beforeQuote: (peer) => hostile.offer(peer, PRICE, false),
    })
    const device = await arena.device()
    await hostile.acted
    await finish(device)
    for (const window of device.download.get().windows.filter((at) => at.seller === hostile.identity.key))
      expect(window.amountMsat).toBeLessThanOrEqual(ONE_PIECE)
  })

  test('takes the lock and keeps it: bought elsewhere, late if it settles, never twice', async () => {
    const hostile = await hostileSeller(arena, { holds: true })
    const device = await arena.device({ lockedTimeoutMs: 1000 })
    await until(device.download, ({ locked }) => locked > 0)
    expect(device.download.get().locked).toBeLessThanOrEqual(ONE_PIECE)
    await finish(device)
    expect(device.download.get().locked).toBeGreaterThan(0)
    const late = new Promise<boolean>((done) => device.download.onLate((_, row) => done(row.late)))
    await hostile.settle(hostile.deals[0] as Deal)
    expect(await late).toBe(true)
    const { windows, boughtTwice } = await until(device.download, ({ locked }) => locked === 0)
    expect(boughtTwice).toBe(0)
    expect(windows.filter((row) => row.late)).toHaveLength(1)
    expect(await lost(hostile)).toBeLessThanOrEqual(ONE_PIECE)
  })

  test('settles, then silent: the wallet’s preimage opens the window, and nothing of what it was paid is lost', async () => {
    // It sends no key, and after its first window nothing at all.
    let windows = 0
    const hostile = await hostileSeller(arena, {
      pause: () => (windows > 0 ? new Promise(() => undefined) : Promise.resolve()),
      beforeQuote: () => void windows++,
    })
    const device = await arena.device()
    await until(device.download, ({ have }) => have > 0)
    const paidAtMs = arena.nowMs()
    await hostile.acted
    await arena.seller()
    // What it was asked for since is silence, like any other: fifteen seconds, then another has it.
    await until(device.download, ({ state }) => {
      if (state.tag === 'complete') return true
      arena.skip(1000)
      return false
    })
    expect(arena.nowMs() - paidAtMs).toBeLessThan(60_000)
    expect(arena.intact(device)).toBe(true)
    const { windows: rows, boughtTwice } = device.download.get()
    const opened = rows.filter(({ seller }) => seller === hostile.identity.key)
    expect(opened.reduce((sum, { amountMsat }) => sum + amountMsat, 0)).toBe(await lost(hostile))
    expect(await lost(hostile)).toBeGreaterThan(0)
    expect(boughtTwice).toBe(0)
  })

  test.each<[string, Script['afterQuote']]>([
    [
      'a wrong secret',
      ({ peer, signed }) => peer.send({ t: 'key', quote: signed.quote.id, secret: new Uint8Array(32) }),
    ],
    [
      'more data',
      ({ peer, request }) => peer.send({ t: 'data', id: request, at: 0, bytes: new Uint8Array(16384) }),
    ],
    [
      'other leaves',
      ({ peer, request }) => peer.send({ t: 'leaves', id: request, leaves: new Uint8Array(16 * 32) }),
    ],
  ])('%s while the payment is locked: what was paid for is opened all the same', async (_, afterQuote) => {
    const hostile = await hostileSeller(arena, {
      holds: true,
      afterQuote: async (deal) => {
        await until(device.download, ({ locked }) => locked > 0)
        await afterQuote?.(deal)
      },
    })
    const device = await arena.device()
    await until(device.download, droppedFor(hostile.identity.key))
    await hostile.settle(hostile.deals[0] as Deal)
    await until(device.download, ({ have }) => have === 1)
    await finish(device)
    expect(device.download.receipts().map(({ preimage }) => preimage)).toContain(
      toHex((hostile.deals[0] as Deal).secret),
    )
  })

  test('wrong bytes and other leaves after the quote: still a proof, never a hole in the file', async () => {
    const hostile = await hostileSeller(arena, {
      plain: (bytes) => void bytes.set(flip(bytes, 0)),
      afterQuote: async ({ peer, request }) => {
        const wrong = new Uint8Array(16 * 32)
        peer.send({ t: 'leaves', id: request, leaves: wrong })
        await Promise.resolve()
      },
    })
    const device = await arena.device()
    await until(device.download, droppedFor(hostile.identity.key))
    await finish(device)
    expect(await lost(hostile)).toBeLessThanOrEqual(ONE_PIECE)
  })

  test('stalls half way, again and again: rests, and what it kept comes from another', async () => {
    const hostile = await hostileSeller(arena, { stopAfter: 100_000 })
    const device = await arena.device()
    // Time runs fast: each look at the download is 8 s later, so it stalls, rests for 30 s and is asked again.
    const fromMs = arena.nowMs()
    await until(device.download, () => {
      arena.skip(8_000)
      return hostile.requests() === 3
    })
    // Two stalls of 15 s, two rests of 30 s, and the looks between.
    expect(arena.nowMs() - fromMs).toBeLessThan(150_000)
    const thirdMs = arena.nowMs()
    await until(device.download, () => {
      arena.skip(100_000)
      return arena.nowMs() - thirdMs > 500_000
    })
    expect(hostile.requests()).toBe(3)
    expect(whyDropped(device, hostile.identity.key)).toBe('not dropped')
    await finish(device)
    expect(await lost(hostile)).toBe(0)
  })

  test('many fresh keys that cheat take no more than the budget for unproven keys', async () => {
    const unprovenBudget = msat(ONE_PIECE + 100)
    const cheats = await Promise.all(
      Array.from({ length: 4 }, () =>
        hostileSeller(arena, { plain: (bytes) => void bytes.set(flip(bytes, 0)) }),
      ),
    )
    const device = await arena.device({ unprovenBudget })
    await until(device.download, ({ sellers }) => sellers.some(({ dropped }) => dropped !== undefined))
    await until(device.download, ({ state }) => state.tag === 'waiting' && state.why === 'payment')
    let total = 0
    for (const cheat of cheats) total += await lost(cheat)
    expect(total).toBeGreaterThan(0)
    expect(total).toBeLessThanOrEqual(unprovenBudget)
  })
})
