/** Writes `web/core/exchange/exchange.vectors.json`; run it by hand when the protocol changes: `node e2e/peers/make-vectors.ts`. */
import { writeFileSync } from 'node:fs'
import {
  concat,
  fromHex,
  sha256Hex,
  toHex,
  type Bytes,
  type InfoHash,
  type Sha256Hex,
} from '../../web/core/bytes.ts'
import { encode, type BDict } from '../../web/core/exchange/bencode.ts'
import { windowKey } from '../../web/core/exchange/cipher.ts'
import { encodeProof, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { encodeMessage, type Message } from '../../web/core/exchange/message.ts'
import { signOffer } from '../../web/core/exchange/offer.ts'
import { receiptOf, taggedHash, type Quote } from '../../web/core/exchange/quote.ts'
import {
  artifact,
  BLOCK,
  bytes32,
  leavesOf,
  MONEY,
  NOW_S,
  party,
  PRICE,
  proofOf,
  sell,
  type Sold,
} from '../../web/core/exchange/sample.ts'
import { prove, type Side } from '../../web/core/exchange/transcript.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { releasePath, rootOfLeaves } from '../../web/core/swarm/merkle.ts'

const buyer = party('buyer')
const seller = party('seller')
const parties = { buyer, seller }
const of = artifact({ length: 5 * BLOCK + 100, pieceLength: 2 * BLOCK })
const hexes = (list: readonly Uint8Array[]) => list.map(toHex)

const trees = [
  { length: 1, pieceLength: BLOCK },
  { length: BLOCK, pieceLength: 4 * BLOCK },
  { length: 3 * BLOCK + 1, pieceLength: 4 * BLOCK },
  of.shape,
  { length: 9 * BLOCK, pieceLength: 2 * BLOCK },
].map((shape) => {
  const { root, layer, bytes } = artifact(shape)
  const last = Math.ceil(shape.length / shape.pieceLength) - 1
  const leaves = leavesOf(bytes.subarray(last * shape.pieceLength))
  const block = leaves.length / 32 - 1
  return {
    ...shape,
    sha256: sha256Hex(bytes),
    root,
    layer: toHex(layer),
    path: { piece: last, block, uncles: hexes(releasePath(leaves, layer, shape, last, block)) },
  }
})

const sold = sell(of, [0, 2], parties)
const window = {
  sellerKey: toHex(bytes32('seller’s persisted key')),
  quoteId: sold.signed.quote.id,
  secret: toHex(sold.secret),
  paymentHash: sold.signed.quote.paymentHash,
  key: toHex(windowKey(sold.secret, sold.signed.quote.id)),
  pieces: sold.signed.quote.pieces,
  plainSha256: sha256Hex(sold.plain),
  ciphertextSha256: sha256Hex(sold.ciphertext),
  cipherRoot: sold.signed.quote.cipherRoot,
}

const side = (who: { key: Side['key'] }, name: string, role: Side['role'], floor?: string): Side => ({
  key: who.key,
  nonce: bytes32(`nonce ${name}`),
  role,
  certificate: bytes32(`certificate ${name}`),
  ...(floor === undefined ? {} : { floor }),
})
const prover = side(seller, 'seller', 'distributor')
const verifier = side(buyer, 'buyer', 'device', '{"kind":30063}')
const wireSide = (at: Side) => ({ ...at, nonce: toHex(at.nonce), certificate: toHex(at.certificate) })
const sig = prove(prover, verifier, of.root, seller.secret, bytes32('aux'))
const proofs = (
  [
    ['', prover, verifier],
    ['another certificate of the prover: a middleman', { ...prover, certificate: bytes32('x') }, verifier],
    ['another certificate of the verifier: a middleman', prover, { ...verifier, certificate: bytes32('x') }],
    ['another nonce of the verifier: a replay', prover, { ...verifier, nonce: bytes32('x') }],
    ['another role', { ...prover, role: 'vendor' }, verifier],
    ['another floor', prover, { ...verifier, floor: '' }],
    ['another key', { ...prover, key: party('x').key }, verifier],
    ['sides swapped: an echo', verifier, prover],
  ] as [string, Side, Side][]
).map(([refused, from, to]) => ({
  prover: wireSide(from),
  verifier: wireSide(to),
  root: of.root,
  sig: toHex(sig),
  ...(refused === '' ? {} : { refused }),
}))

const bent = (bytes: Bytes, at: number): Bytes => {
  const copy = bytes.slice()
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}
const quoteJson = ({ shape, ...quote }: Quote) => ({ ...quote, ...shape })
const gift = sell(of, [2], parties, { change: { amount: 0 as Msat, invoice: '' } })
// On credit the plain bytes are what was sent. A window of its own number, so that its id is not the sold one's.
const plainLeaves = leavesOf(sell(of, [1, 2], parties).plain)
const owed: Sold = {
  ...sell(of, [1, 2], parties, {
    change: { mode: 'credit', cipherRoot: toHex(rootOfLeaves(plainLeaves)) as Sha256Hex },
  }),
  cipherLeaves: plainLeaves,
}
const { bytes, sig: quoteSig } = sold.signed
const raw = (change: (dict: BDict) => BDict): string => {
  const { quote } = sold.signed
  const dict: BDict = {
    amount: quote.amount,
    buyer: fromHex(quote.buyer),
    cipher: fromHex(quote.cipherRoot),
    expiry: quote.expiry,
    hash: fromHex(quote.paymentHash),
    id: fromHex(quote.id),
    invoice: quote.invoice,
    length: quote.shape.length,
    money: quote.money,
    'piece length': quote.shape.pieceLength,
    pieces: [...quote.pieces],
    root: fromHex(quote.root),
    seller: fromHex(quote.seller),
    v: 1,
  }
  return toHex(encode(change(dict)))
}
const quotes = [
  {
    bytes: toHex(bytes),
    sig: toHex(quoteSig),
    digest: toHex(taggedHash('satpatch/quote', bytes)),
    quote: quoteJson(sold.signed.quote),
  },
  {
    bytes: toHex(gift.signed.bytes),
    sig: toHex(gift.signed.sig),
    digest: toHex(taggedHash('satpatch/quote', gift.signed.bytes)),
    quote: quoteJson(gift.signed.quote),
  },
  {
    bytes: toHex(owed.signed.bytes),
    sig: toHex(owed.signed.sig),
    digest: toHex(taggedHash('satpatch/quote', owed.signed.bytes)),
    quote: quoteJson(owed.signed.quote),
  },
  { bytes: toHex(bytes), sig: toHex(bent(quoteSig, 5)), refused: 'another signature' },
  { bytes: raw((dict) => ({ ...dict, mode: 'atomic' })), sig: toHex(quoteSig), refused: 'unknown mode' },
  { bytes: toHex(bent(bytes, 9)), sig: toHex(quoteSig), refused: 'another amount than was signed' },
  { bytes: raw((dict) => ({ ...dict, v: 2 })), sig: toHex(quoteSig), refused: 'another version' },
  { bytes: raw((dict) => ({ ...dict, more: 1 })), sig: toHex(quoteSig), refused: 'a key too many' },
  { bytes: raw(({ root: _, ...dict }) => dict), sig: toHex(quoteSig), refused: 'a key too few' },
  {
    bytes: raw((dict) => ({ ...dict, pieces: [2, 0] })),
    sig: toHex(quoteSig),
    refused: 'pieces do not ascend',
  },
  { bytes: raw((dict) => ({ ...dict, money: 'gold' })), sig: toHex(quoteSig), refused: 'unknown money' },
  { bytes: `${toHex(bytes)}00`, sig: toHex(quoteSig), refused: 'bytes behind the end' },
]

const receipt = receiptOf(sold.signed, toHex(sold.secret))
const receipts = [
  { receipt, hash: sha256Hex(concat(bytes, quoteSig, sold.secret)) },
  { receipt: { ...receipt, preimage: 'ab'.repeat(32) }, refused: 'preimage does not fit' },
  { receipt: { ...receipt, sig: '00'.repeat(64) }, refused: 'bad signature' },
  { receipt: { ...receipt, quote: '00' }, refused: 'unreadable' },
]

const cheat = sell(of, [0, 2], parties, { spoil: (plain) => void (plain[3 * BLOCK + 7] = 1) })
const fraud = proofOf(of, cheat, 2, 1)
const release = { root: of.root, ...of.shape }
const four = artifact({ length: of.shape.length, pieceLength: 4 * BLOCK })
const fraudRow = (proof: FraudProof, refused?: string, against: object = release) => ({
  release: against,
  proof: toHex(encodeProof(proof)),
  ...(refused === undefined ? { seller: seller.key } : { refused }),
})
const frauds = [
  fraudRow(fraud),
  fraudRow(proofOf(of, sold, 2, 1), 'block is genuine'),
  fraudRow({ ...fraud, block: 0 }, 'ciphertext path'),
  fraudRow({ ...fraud, piece: 1 }, 'not in the window'),
  fraudRow({ ...fraud, leaf: bytes32('x') }, 'release path'),
  fraudRow({ ...fraud, cipherPath: fraud.cipherPath.slice(1) }, 'ciphertext path'),
  fraudRow({ ...fraud, receipt: { ...fraud.receipt, preimage: '00'.repeat(32) } }, 'receipt'),
  fraudRow(proofOf(of, gift, 2, 1), 'nothing was paid'),
  fraudRow(proofOf(of, { ...owed, ciphertext: owed.plain }, 2, 1), 'bought on credit'),
  fraudRow(fraud, 'not of this release', { root: four.root, ...four.shape }),
]

const some: Message[] = [
  { t: 'hello', key: buyer.key, nonce: bytes32('nonce'), role: 'device', root: of.root },
  {
    t: 'hello',
    key: buyer.key,
    nonce: bytes32('nonce'),
    role: 'device',
    root: of.root,
    floor: '{"kind":30063}',
  },
  { t: 'prove', sig },
  { t: 'offer', event: '{}', gift: true },
  { t: 'request', id: 1, pieces: [0, 2] },
  { t: 'refuse', id: 1, code: 'too large' },
  { t: 'leaves', id: 1, leaves: bytes32('leaf') },
  { t: 'data', id: 1, at: 65_536, bytes: new Uint8Array([1, 2, 3]) },
  { t: 'quote', id: 1, quote: bytes, sig: quoteSig },
  { t: 'key', quote: sold.signed.quote.id, secret: sold.secret },
  { t: 'cancel', id: 1 },
  { t: 'got', id: 1 },
  { t: 'sending', pieces: [1, 5] },
  { t: 'credit', bytes: 262_144 },
  { t: 'paid', quote: sold.signed.quote.id, preimage: sold.secret },
  { t: 'renew', id: 1, quote: sold.signed.quote.id },
]
const asJson = (message: Message) =>
  Object.fromEntries(
    Object.entries(message).map(([key, value]) => [
      key,
      value instanceof Uint8Array ? toHex(value) : (value as unknown),
    ]),
  )
const text = (given: string) => toHex(new TextEncoder().encode(given))
const frames = [
  ...some.map((message) => ({ frame: toHex(encodeMessage(message)), message: asJson(message) })),
  { frame: toHex(encode({ t: 'later', x: 1 })), message: null },
  { frame: text('le'), refused: 'not a dict' },
  { frame: text('d1:t6:cancel2:idi1ee'), refused: 'keys not sorted' },
  { frame: text('d2:idi01e1:t6:cancele'), refused: 'leading zero' },
  { frame: text('d2:idi1e1:t6:cancele0'), refused: 'a payload behind a frame that has none' },
  { frame: text('d2:idi2147483648e1:t6:cancele'), refused: 'id past 2^31 - 1' },
  { frame: text('d2:idi1e6:piecesli1ei1ee1:t7:requeste'), refused: 'pieces do not ascend' },
  { frame: text('d2:idi1e6:piecesle1:t7:requeste'), refused: 'no pieces' },
  { frame: text('d5:event2:{}4:gifti2e1:t5:offere'), refused: 'gift is neither 0 nor 1' },
  { frame: text('d2:idi1e1:t6:leavese'), refused: 'no leaves' },
  { frame: text('d2:ati0e2:idi1e1:t4:datae'), refused: 'no data' },
  { frame: text('d3:sig3:abc1:t5:provee'), refused: 'a signature of three bytes' },
  { frame: text('d5:bytesi-1e1:t6:credite'), refused: 'credit below nothing' },
  { frame: text('d2:idi1e5:quote3:abc1:t5:renewe'), refused: 'a quote’s id of three bytes' },
]

const infoHash = 'ab'.repeat(20) as InfoHash
const offered = {
  infoHash,
  money: MONEY,
  price: PRICE,
  modes: ['atomic' as const],
  maxWindowBytes: 262_144,
  expiresAtS: NOW_S + 3600,
}
const event = signOffer(offered, seller.secret, bytes32('aux'), NOW_S)
const offers = [
  { infoHash, event: JSON.stringify(event), offer: { ...offered, seller: seller.key } },
  {
    infoHash,
    event: JSON.stringify({ ...event, content: event.content.replace('1000', '999') }),
    refused: 'another price than was signed',
  },
  { infoHash: 'cd'.repeat(20), event: JSON.stringify(event), refused: 'for another torrent' },
  {
    infoHash,
    event: JSON.stringify(
      signOffer({ ...offered, maxWindowBytes: 100 }, seller.secret, bytes32('aux'), NOW_S),
    ),
    refused: 'windows below a block',
  },
]

const file = new URL('../../web/core/exchange/exchange.vectors.json', import.meta.url)
const keys = {
  buyer: { key: buyer.key, secret: toHex(buyer.secret) },
  seller: { key: seller.key, secret: toHex(seller.secret) },
}
writeFileSync(
  file,
  `${JSON.stringify({ bytes: 'byte i of an artifact is the low byte of i * 167 + (i >> 8) * 13', keys, trees, window, proofs, quotes, receipts, frauds, frames, offers }, null, 1)}\n`,
)
console.log(`${file.pathname}: written for root ${of.root satisfies Sha256Hex}`)
