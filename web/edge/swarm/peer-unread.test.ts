import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import type { Connection, Wire, WireExtension } from '#webtorrent'
import { toHex, type Bytes, type Sha256Hex } from '../../core/bytes.ts'
import { laneFrame } from '../../core/exchange/lane.ts'
import { decodeMessage, encodeMessage, EXTENSION, type Message } from '../../core/exchange/message.ts'
import { bytes32, party } from '../../core/exchange/sample.ts'
import { prove, type Side } from '../../core/exchange/transcript.ts'
import { MAX_WAITING, Peer, type PeerContext } from './peer.ts'

const [QUOTE, SIG] = [new Uint8Array(4096), new Uint8Array(64)]
const MIB = 1024 * 1024
const ROOT = toHex(bytes32('root')) as Sha256Hex
const sdpOf = (certificate: Bytes): string =>
  `a=fingerprint:sha-256 ${toHex(certificate).match(/../g)?.join(':')}\r\n`
const [OURS, THEIRS] = [bytes32('our certificate'), bytes32('their certificate')]

/** Takes bytes, and gets rid of them when it is told to. */
class FakeWire extends EventEmitter {
  destroyed = false
  readonly peerPieces = { get: () => false }
  readonly _readableState = { buffered: 0 }
  hello: Extract<Message, { t: 'hello' }> | undefined
  heard: WireExtension | undefined
  interested(): void {}
  use(Extension: new (wire: unknown) => WireExtension): void {
    this.heard = new Extension(this)
  }
  push(bytes: Uint8Array): boolean {
    this._readableState.buffered += bytes.length
    return false
  }
  extended(_: string, frame: Uint8Array): void {
    const first = this.hello === undefined ? decodeMessage(frame) : undefined
    if (first?.t === 'hello') this.hello = first
    this.push(frame)
  }
  destroy(): void {
    this.destroyed = true
  }
}
class FakeChannel {
  readyState = 'open'
  bufferedAmount = 0
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null
  send(bytes: ArrayBuffer): void {
    this.bufferedAmount += bytes.byteLength
  }
  close(): void {
    this.readyState = 'closed'
  }
}

/** A peer that has proven its key to us, and gets a quote for whatever it asks. */
function quoted(by: 'wire' | 'lane') {
  const wire = new FakeWire()
  const channel = new FakeChannel()
  const whys: unknown[] = []
  const nothing = (): void => undefined
  const [us, them] = [party('us'), party('them')]
  const connection = {
    _pc: {
      localDescription: { sdp: sdpOf(OURS) },
      remoteDescription: { sdp: sdpOf(THEIRS) },
      ...(by === 'lane' && { createDataChannel: () => channel }),
    },
  } as unknown as Connection
  const context: PeerContext = {
    identity: us,
    role: 'device',
    root: ROOT,
    pieces: 1,
    floor: nothing as () => undefined,
    connectionOf: () => connection,
    events: {
      proven: nothing,
      plain: nothing,
      message: (peer, message) =>
        message.t === 'request' && peer.send({ t: 'quote', id: message.id, quote: QUOTE, sig: SIG }),
      floor: nothing,
      haves: nothing,
      unchoked: nothing,
      gone: nothing,
      log: (_, { why }) => void whys.push(why),
    },
  }
  const peer = new Peer(wire as unknown as Wire, context)
  wire.emit('extended', 'handshake', { m: { [EXTENSION]: 1 } })
  const { hello } = wire
  if (hello === undefined) throw new Error('it said no hello')
  const mine: Side = { key: them.key, nonce: bytes32('nonce'), role: 'device', certificate: THEIRS }
  const theirs: Side = { key: hello.key, nonce: hello.nonce, role: hello.role, certificate: OURS }
  const say = (message: Message): void => {
    const frame = encodeMessage(message)
    if (by === 'lane' && message.t === 'request') channel.onmessage?.({ data: laneFrame(frame).buffer })
    else wire.heard?.onMessage?.(frame)
  }
  const { key, nonce, role } = mine
  say({ t: 'hello', key, nonce, role, root: ROOT, ...(by === 'lane' && { lane: 262_144 }) })
  say({ t: 'prove', sig: prove(mine, theirs, ROOT, them.secret, bytes32('aux')) })
  expect(peer.key).toBe(them.key)
  return {
    wire,
    channel,
    peer,
    whys,
    waiting: () => (by === 'lane' ? channel.bufferedAmount : wire._readableState.buffered),
    read: () => (channel.bufferedAmount = wire._readableState.buffered = 0),
    /** Stops when it is dropped. */
    ask(times: number): void {
      for (let id = 1; id <= times && !peer.gone; id++) say({ t: 'request', id, pieces: [0] })
    },
  }
}

test.each(['wire', 'lane'] as const)(
  'answers by the %s to a peer that asks and reads nothing are bounded, and it is dropped',
  (by) => {
    const { ask, waiting, wire, whys } = quoted(by)
    ask(10_000)
    expect(wire.destroyed).toBe(true)
    expect(whys).toEqual(['does not read what it asked for'])
    expect(waiting()).toBeLessThan(MAX_WAITING + 5 * MIB)
  },
)

test.each(['wire', 'lane'] as const)('one that reads what comes by the %s may ask for ever', (by) => {
  const { ask, read, peer } = quoted(by)
  for (let times = 0; times < 10; times++) {
    ask(500)
    read()
  }
  expect(peer.gone).toBe(false)
})

test('a full lane leaves room for the frames of all windows that a peer may ask for', () => {
  const { ask, channel, peer } = quoted('lane')
  ask(1)
  channel.bufferedAmount = 4 * MIB
  for (let id = 0; id < 16; id++) {
    peer.send({ t: 'leaves', id, leaves: new Uint8Array(32 * 1024) })
    peer.send({ t: 'quote', id, quote: new Uint8Array(24_576), sig: new Uint8Array(64) })
  }
  expect(peer.gone).toBe(false)
})

test('what webtorrent answers by itself counts as well', () => {
  const { wire } = quoted('wire')
  for (let n = 0; n < 1000 && !wire.destroyed; n++) wire.push(new Uint8Array(16_384))
  expect(wire.destroyed).toBe(true)
})
