/**
 * Every parser that reads what a stranger wrote, with samples of what it accepts and what must hold whatever it is given.
 * `run` gives a short word for what came of the input, and throws where a promise is broken.
 */
import { parseConfig } from '../../device/config/config.ts'
import { deviceToml } from '../../device/config/template.ts'
import { toHex, utf8, type PartyKey, type VendorId } from '../../web/core/bytes.ts'
import { readAccusation, proofIn } from '../../web/core/exchange/accusation.ts'
import { BencodeError, decode, encode } from '../../web/core/exchange/bencode.ts'
import { decodeProof, encodeProof } from '../../web/core/exchange/fraud.ts'
import { decodeMessage, encodeMessage, MessageError } from '../../web/core/exchange/message.ts'
import { parseEvent as parseOfferEvent, readOffer, signOffer } from '../../web/core/exchange/offer.ts'
import { decodeQuote, encodeQuote, receiptOf, verifyReceipt } from '../../web/core/exchange/quote.ts'
import * as sample from '../../web/core/exchange/sample.ts'
import { decodeInvoice } from '../../web/core/money/bolt11.ts'
import bolt11Vectors from '../../web/core/money/bolt11.vectors.json' with { type: 'json' }
import { parseMoney } from '../../web/core/money/msat.ts'
import { signEvent, verifyEvent } from '../../web/core/nostr/event.ts'
import { floorFrom, readAnnouncement, readTargets, releaseEvent } from '../../web/core/release/announce.ts'
import { buildKeysFile, readKeysFile } from '../../web/core/release/confidential.ts'
import { checkFileName } from '../../web/core/release/file-name.ts'
import { testEntry, testRepository } from '../../web/core/release/test-repository.ts'
import { parseEnvelope, roleNames } from '../../web/core/release/tuf.ts'
import { compareVersions, parseVersion } from '../../web/core/release/version.ts'
import { decodeJoinCode, encodeJoinCode } from '../../web/core/rollout/join.ts'
import { progressSchema, reportSchema } from '../../web/core/rollout/messages.ts'
import { buildMetainfo, MetainfoError, readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import { requestSchema } from '../../web/core/wallet/nip47.ts'
import { parseRelayMessage } from '../../web/edge/nostr/wire.ts'
import * as v from 'valibot'

export type Parser = Readonly<{
  name: string
  samples: readonly Uint8Array[]
  run: (input: Uint8Array) => string
}>

const NOW_MS = 1_800_000_000_000
const SECRET = new Uint8Array(32).fill(7)
const AUX = new Uint8Array(32)
const HEX = 'ab'.repeat(32)
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
const texts = (...all: string[]): Uint8Array[] => all.map((one) => utf8(one))

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}
/** What `read` throws is of `kind`, or the parser broke. */
function thrown(read: () => string, kind: new (...args: never[]) => Error): string {
  try {
    return read()
  } catch (error) {
    if (error instanceof kind) return `refused: ${error.message.replaceAll(/\d+/g, 'n').slice(0, 60)}`
    throw error
  }
}
const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

const art = sample.artifact({ length: 100_000, pieceLength: 32_768 })
const sold = sample.sell(art, [0], { buyer: sample.party('buyer'), seller: sample.party('seller') })
const receipt = { ...receiptOf(sold.signed, toHex(sold.secret)) }
const proof = sample.proofOf(art, sold, 0, 0)
const meta = buildMetainfo({
  name: 'a file.bin',
  ...art.shape,
  sha1s: new Uint8Array(20 * (art.layer.length / 32)),
  layer: art.layer,
  trackers: ['wss://tracker.example'],
  salt: new Uint8Array(16),
})
const repository = testRepository(NOW_MS)
repository.publish([testEntry('1.0.0'), testEntry('2.0.0')])
const vendor = HEX as VendorId
const announced = signEvent(
  releaseEvent({
    vendor,
    release: { product: 'pump', version: '1.0.0', sha256: HEX as never },
    status: 'live',
    targetsVersion: 3,
    createdAtS: NOW_MS / 1000,
  }),
  SECRET,
  AUX,
)
const offer = signOffer(
  {
    infoHash: meta.infoHash,
    money: 'sandbox:fuzz',
    price: sample.PRICE,
    modes: ['atomic'],
    maxWindowBytes: 1 << 20,
    expiresAtS: NOW_MS / 1000 + 600,
  },
  SECRET,
  AUX,
  NOW_MS / 1000,
)
const connection = `nostr+walletconnect://${announced.pubkey}?relay=${encodeURIComponent('wss://r.example/nostr')}&secret=${'11'.repeat(32)}`
const toml = deviceToml({
  name: 'pump 1',
  hardware: 'pi4',
  dataDir: 'data',
  vendor: HEX,
  relays: ['https://relay.example'],
  trackers: [],
  deviceSecret: '22'.repeat(32),
  walletClientSecret: '33'.repeat(32),
  walletConnection: connection,
  products: ['pump'],
  healthCommand: 'true',
  priceCapMsat: 1000,
})

const keyEntry = (byte: number) => ({
  name: new Uint8Array(16).fill(byte),
  payload: Buffer.alloc(131, byte).toString('base64'),
})

export const parsers: readonly Parser[] = [
  {
    name: 'lists of wrapped keys',
    samples: [buildKeysFile(HEX as PartyKey, []), buildKeysFile(HEX as PartyKey, [1, 2, 3].map(keyEntry))],
    run: (input) => {
      const list = readKeysFile(input)
      if (list === undefined) return 'refused'
      const found = [1, 2, 3].map(keyEntry).filter(({ name }) => list.find(name) !== undefined)
      must(found.length <= list.readers, 'it has more entries than readers')
      return 'list'
    },
  },
  {
    name: 'bencode',
    samples: [encode({ a: 1, b: [utf8('x'), 2], c: { d: utf8('') } }), meta.torrent],
    run: (input) =>
      thrown(() => {
        must(sameBytes(encode(decode(input)), input), 'what decodes is not encoded as it was')
        return 'value'
      }, BencodeError),
  },
  {
    name: 'frames',
    samples: [
      encodeMessage({ t: 'request', id: 1, pieces: [0, 1] }),
      encode({ t: 'cancel', id: 3 }),
      encode({ t: 'key', quote: new Uint8Array(32), secret: new Uint8Array(32) }),
      encode({ t: 'hello', key: AUX, nonce: AUX, role: 'device', root: AUX, v: 1 }),
      encode({ t: 'prove', sig: new Uint8Array(64) }),
    ],
    run: (input) => thrown(() => decodeMessage(input)?.t ?? 'a later version', MessageError),
  },
  {
    name: 'quotes',
    samples: [sold.signed.bytes],
    run(input) {
      const quote = decodeQuote(input)
      if (quote === undefined) return 'none'
      must(sameBytes(encodeQuote(quote), input), 'a quote has two encodings')
      return 'quote'
    },
  },
  {
    name: 'receipts',
    samples: texts(JSON.stringify(receipt)),
    run(input) {
      const parsed = v.safeParse(
        v.pipe(
          v.string(),
          v.parseJson(),
          v.object({ quote: v.string(), sig: v.string(), preimage: v.string() }),
        ),
        text(input),
      )
      if (!parsed.success) return 'other JSON'
      const check = verifyReceipt(parsed.output)
      if (!check.ok) return check.why
      const same = (['quote', 'sig', 'preimage'] as const).every(
        (part) => parsed.output[part].toLowerCase() === receipt[part],
      )
      must(same, 'a receipt that was never given counts')
      return 'receipt'
    },
  },
  {
    name: 'proofs',
    samples: [encodeProof(proof)],
    run(input) {
      const found = decodeProof(input)
      return found === undefined
        ? 'none'
        : sameBytes(encodeProof(found), input)
          ? 'proof'
          : 'another encoding'
    },
  },
  {
    name: 'torrents',
    samples: [meta.torrent],
    run: (input) =>
      thrown(() => {
        const read = readMetainfo(input, {
          infoHash: meta.infoHash,
          piecesRoot: art.root,
          bytes: art.shape.length,
          pieceLength: art.shape.pieceLength,
        })
        must(sameBytes(read.layer, art.layer), 'another layer than the signed one was taken')
        return 'metainfo'
      }, MetainfoError),
  },
  ...roleNames.map((role): Parser => ({
    name: `${role} metadata`,
    samples: Object.entries(repository.files)
      .filter(([name]) => name.includes(role))
      .map(([, bytes]) => bytes),
    run(input) {
      const parsed = parseEnvelope(role, input)
      if (parsed.tag === 'refused') return parsed.refusal.text.replaceAll(/\d+/g, 'n').slice(0, 80)
      if (parsed.value.role === 'targets') readTargets(parsed.value.signed as never)
      return 'metadata'
    },
  })),
  {
    name: 'Nostr events',
    samples: texts(JSON.stringify(announced), JSON.stringify(offer)),
    run(input) {
      const json = text(input)
      const floor = floorFrom(json, vendor, announced.pubkey)
      must(floor === undefined || floor === 3, 'a floor that was never signed')
      const event = parseOfferEvent(json)
      if (event === undefined) return 'none'
      readAnnouncement(event)
      readOffer(event, meta.infoHash)
      readAccusation(event)
      proofIn(event)
      const isSigned = verifyEvent(event)
      const known = event.sig === announced.sig || event.sig === offer.sig
      must(!isSigned || known, 'an event that nobody signed verifies')
      return isSigned ? 'signed' : 'unsigned'
    },
  },
  {
    name: 'Nostr frames',
    samples: texts(
      JSON.stringify(['EVENT', 'sub', announced]),
      JSON.stringify(['OK', announced.id, true, '']),
      JSON.stringify(['EOSE', 'sub']),
    ),
    run: (input) => JSON.stringify(parseRelayMessage(text(input)) ?? 'none').slice(0, 12),
  },
  {
    name: 'BOLT 11',
    samples: texts(
      ...bolt11Vectors.accepted.map((one) => one.text),
      ...bolt11Vectors.refused.map((one) => one.text),
    ),
    run(input) {
      const decoded = decodeInvoice(text(input))
      if (!decoded.ok) return decoded.why.tag
      must(
        decoded.invoice.amount === undefined || Number.isSafeInteger(decoded.invoice.amount),
        'a broken amount',
      )
      return 'invoice'
    },
  },
  {
    name: 'wallet connections',
    samples: texts(connection),
    run(input) {
      const pasted = text(input)
      const parsed = parseConnection(pasted)
      if (parsed.ok) return 'connection'
      const secret = /[0-9a-f]{64}/.exec(pasted.split('secret=')[1] ?? '')?.[0]
      must(secret === undefined || !parsed.message.includes(secret), 'a refusal tells the secret')
      return parsed.message.slice(0, 30)
    },
  },
  {
    name: 'join codes',
    samples: texts(
      encodeJoinCode({
        nostr: HEX as PartyKey,
        relay: 'https://relay.example',
        secret: '44'.repeat(16),
        vendor,
      }),
    ),
    run(input) {
      const read = decodeJoinCode(text(input))
      return read.tag === 'ok' ? 'code' : read.why
    },
  },
  {
    name: 'device.toml',
    samples: [utf8(toml)],
    run(input) {
      try {
        parseConfig(text(input), 'device.toml')
        return 'config'
      } catch (error) {
        const { name, message } = error as Error
        must(name === 'ConfigError', `not a ConfigError: ${name}: ${message}`)
        for (const secret of ['11', '22', '33'])
          must(!message.includes(secret.repeat(32)), 'an error tells a secret')
        return message.replaceAll(/\d+/g, 'n').slice(0, 60)
      }
    },
  },
  {
    name: 'device messages',
    samples: texts(
      JSON.stringify({
        v: 1,
        name: 'd',
        hardware: 'h',
        seq: 1,
        at: 1,
        state: 'healthy',
        refused: [{ attack: 'rollback', from: 'x', text: 'y', count: 1, firstAt: 1, lastAt: 1 }],
      }),
      JSON.stringify({ method: 'pay_invoice', params: { invoice: 'lnbcrt1' } }),
    ),
    run(input) {
      let json: unknown
      try {
        json = JSON.parse(text(input))
      } catch {
        return 'no JSON'
      }
      const all = [progressSchema, reportSchema, requestSchema].map((one) => v.safeParse(one, json).success)
      return all.join()
    },
  },
  {
    name: 'names, versions, money',
    samples: texts('pump ü.bin', '1.2.3-rc.1+build', 'sandbox:ab', '../x', 'CON.txt'),
    run(input) {
      const one = text(input)
      const name = checkFileName(one)
      if (name.tag === 'ok')
        must(!/[/\\\0]|^\.\.?$/.test(one) && utf8(one).length <= 200, 'an unsafe name passes')
      const version = parseVersion(one)
      must(Number.isFinite(compareVersions(one, '1.0.0')), 'versions without an order')
      must(compareVersions(one, one) === 0, 'a version is not itself')
      return `${name.tag} ${version === undefined ? '' : 'version'} ${parseMoney(one) ?? ''}`.slice(0, 30)
    },
  },
]
