/** A seller on a real wire that follows a script: honest by default, wrong in what the script says. */
import { fromHex, toHex, type Bytes, type Sha256Hex } from '../../web/core/bytes.ts'
import { paymentHashOf, quoteSecret } from '../../web/core/exchange/cipher.ts'
import { FRAME, type Message, type RefusalCode } from '../../web/core/exchange/message.ts'
import { signOffer } from '../../web/core/exchange/offer.ts'
import { signQuote, type Quote, type SignedQuote } from '../../web/core/exchange/quote.ts'
import { priceOf, type Money, type Msat } from '../../web/core/money/msat.ts'
import { pieceBytes, rootOfLeaves } from '../../web/core/swarm/merkle.ts'
import type { Peer } from '../../web/edge/swarm/peer.ts'
import { cryptWindow, leafHashes } from '../../web/edge/swarm/window-cipher.ts'
import { PRICE, type Arena, type Member, type Self } from './arena.ts'

export type Deal = { peer: Peer; request: number; signed: SignedQuote; secret: Bytes }
export type Script = Readonly<{
  price?: Msat
  /** `gift` of the offer. */
  gift?: boolean
  /** How many windows are served by the book before the script begins. */
  honestFor?: number
  /** Changes the plain bytes before they are encrypted. */
  plain?: (bytes: Bytes) => void
  leaves?: (leaves: Bytes) => Bytes
  /** What goes over the wire instead of the ciphertext that the quote is about. */
  sent?: (ciphertext: Bytes) => Bytes
  /** Sends so many bytes of a window and stops. */
  stopAfter?: number
  quote?: (quote: Quote) => Quote
  /** Which window secret: the quote's own by default. */
  secret?: (own: Bytes) => Bytes
  /** Changes quote or signature after signing; the deals so far are there to be taken from. */
  mangle?: (signed: SignedQuote, deals: readonly Deal[]) => { bytes: Bytes; sig: Bytes }
  /** Refuses every request. */
  refuses?: RefusalCode
  /** Refuses what it has sent all of, in place of the quote. */
  refusesAfter?: RefusalCode
  /** Bytes a frame; whole blocks. */
  frame?: number
  /** Between two frames. */
  pause?: () => Promise<void>
  /** Sends no quote. */
  noQuote?: boolean
  invoice?: (quote: { amount: Msat; paymentHash: Sha256Hex; secret: Bytes }) => Promise<string>
  /** Takes the lock with a hold invoice and keeps it. */
  holds?: boolean
  beforeQuote?: (peer: Peer, request: number) => void | Promise<void>
  afterQuote?: (deal: Deal) => void | Promise<void>
}>

export type HostileSeller = Member & {
  leave(): Promise<void>
  readonly deals: readonly Deal[]
  readonly requests: () => number
  readonly sentBytes: () => number
  /** Resolves when a window was served as the script says. */
  readonly acted: Promise<void>
  settle(deal: Deal): Promise<void>
  offer(peer: Peer, price: Msat, gift: boolean): void
}

/** Where it sells: the arena, or a whole house. */
export type Ground = Pick<Arena, 'nowMs' | 'member'> & Readonly<{ moneyName?: Money }>

let serial = 0

export async function hostileSeller(arena: Ground, script: Script, as?: Self): Promise<HostileSeller> {
  const member = await arena.member('hostile', {
    full: true,
    role: 'distributor',
    ...(as === undefined ? {} : { as }),
  })
  const { session, identity, wallet } = member
  const { meta } = session
  const money = arena.moneyName ?? 'sandbox:arena'
  const deals: Deal[] = []
  let requests = 0
  let sentBytes = 0
  let acted: () => void = () => undefined
  const done = new Promise<void>((resolve) => (acted = resolve))
  const sellerKey = crypto.getRandomValues(new Uint8Array(32))
  const aux = () => crypto.getRandomValues(new Uint8Array(32))

  const offer = (peer: Peer, price: Msat, gift: boolean): void => {
    const nowS = Math.floor(arena.nowMs() / 1000)
    const event = signOffer(
      {
        infoHash: meta.infoHash,
        money,
        price,
        modes: ['atomic'],
        maxWindowBytes: 4 * 1024 * 1024,
        expiresAtS: nowS + 3600,
      },
      identity.secret,
      aux(),
      nowS,
    )
    peer.send({ t: 'offer', event: JSON.stringify(event), gift })
  }

  async function serve(peer: Peer, { id: request, pieces }: Extract<Message, { t: 'request' }>) {
    const turn: Script = requests++ < (script.honestFor ?? 0) ? {} : script
    if (turn.refuses !== undefined) {
      peer.send({ t: 'refuse', id: request, code: turn.refuses })
      return acted()
    }
    const price = script.price ?? PRICE
    const parts = await Promise.all(
      pieces.map((piece) => member.store.read(piece * meta.pieceLength, pieceBytes(meta, piece))),
    )
    const plain = new Uint8Array(Buffer.concat(parts))
    const leaves = await leafHashes(plain)
    turn.plain?.(plain)
    const id = (++serial).toString(16).padStart(64, '0') as Sha256Hex
    const own = quoteSecret(sellerKey, id)
    const secret = turn.secret?.(own) ?? own
    const paymentHash = paymentHashOf(secret)
    const ciphertext = await cryptWindow(secret, id, plain)
    peer.send({ t: 'leaves', id: request, leaves: turn.leaves?.(leaves) ?? leaves })
    const sent = turn.sent?.(ciphertext) ?? ciphertext
    const frame = turn.frame ?? FRAME
    for (let at = 0; at < sent.length && !peer.gone; at += frame) {
      if (turn.stopAfter !== undefined && at >= turn.stopAfter) return acted()
      peer.send({ t: 'data', id: request, at, bytes: sent.slice(at, at + frame) })
      sentBytes += Math.min(frame, sent.length - at)
      await peer.drained()
      await turn.pause?.()
    }
    if (turn.refusesAfter !== undefined) peer.send({ t: 'refuse', id: request, code: turn.refusesAfter })
    if (turn.noQuote === true || turn.refusesAfter !== undefined) return acted()
    await turn.beforeQuote?.(peer, request)
    const amount = priceOf(plain.length, price)
    const ask = { amount, description: 'window', expirySeconds: 120 }
    const invoice =
      (await turn.invoice?.({ amount, paymentHash, secret })) ??
      (turn.holds === true
        ? await wallet.makeHoldInvoice({ ...ask, paymentHash })
        : await wallet.makeInvoice({ ...ask, preimage: toHex(secret) })
      ).bolt11
    const quote: Quote = {
      id,
      buyer: peer.key as NonNullable<typeof peer.key>,
      seller: identity.key,
      root: meta.piecesRoot,
      shape: { length: meta.length, pieceLength: meta.pieceLength },
      pieces,
      cipherRoot: toHex(rootOfLeaves(await leafHashes(ciphertext))) as Sha256Hex,
      paymentHash,
      amount,
      money,
      expiry: Math.floor(arena.nowMs() / 1000) + 120,
      invoice,
    }
    const signed = signQuote(turn.quote?.(quote) ?? quote, identity.secret, aux())
    const deal = { peer, request, signed, secret }
    deals.push(deal)
    const shown = turn.mangle?.(signed, deals) ?? signed
    peer.send({ t: 'quote', id: request, quote: shown.bytes, sig: shown.sig })
    await turn.afterQuote?.(deal)
    if (turn === script) acted()
  }

  session.attach({
    joined: (peer) => offer(peer, script.price ?? PRICE, script.gift ?? false),
    message: (peer, message) => {
      if (message.t === 'request') void serve(peer, message)
    },
  })
  return {
    ...member,
    deals,
    requests: () => requests,
    sentBytes: () => sentBytes,
    acted: done,
    offer,
    settle: (deal) => wallet.settleHoldInvoice(toHex(deal.secret)),
  }
}

export const flip = (bytes: Bytes, at = 0): Bytes => {
  const copy = bytes.slice() as Bytes
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}
export const other = (hex: string): Sha256Hex => toHex(flip(fromHex(hex))) as Sha256Hex
