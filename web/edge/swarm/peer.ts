/**
 * One wire of a session: the `satpatch` extension (BEP 10), the mutual proof of keys, and what the peer has.
 * Hostile frames end in `drop`; the session hears of a peer only when its key is proven, or when it turns
 * out to be an ordinary BitTorrent peer.
 */
import type { Connection, Wire, WireExtension } from '#webtorrent'
import { concat, type Bytes, type PartyKey, type Sha256Hex } from '../../core/bytes.ts'
import {
  decodeMessage,
  encodeMessage,
  EXTENSION,
  FRAME,
  MessageError,
  type Message,
  type Role,
} from '../../core/exchange/message.ts'
import { lanePayload, type Data } from '../../core/exchange/lane.ts'
import { fingerprintOf, prove, verifyProof, type Side } from '../../core/exchange/transcript.ts'
import type { Identity } from './api.ts'
import { Lane, laneLimit } from './lane.ts'

export type PeerEvents = Readonly<{
  /** The key is proven. */
  proven(peer: Peer): void
  /** No extension: an ordinary peer. */
  plain(peer: Peer): void
  message(peer: Peer, message: Message): void
  /** `floor` of the peer's hello, unverified. */
  floor(eventJson: string): void
  haves(peer: Peer, pieces: readonly number[]): void
  unchoked(peer: Peer): void
  gone(peer: Peer): void
  log(event: string, detail: Record<string, unknown>): void
}>

export type PeerContext = Readonly<{
  identity: Identity
  role: Role
  root: Sha256Hex
  pieces: number
  floor: () => string | undefined
  connectionOf: (wire: Wire) => Connection | undefined
  events: PeerEvents
}>

/** A peer that has the extension and does not prove its key in this time is dropped. */
const PROOF_TIMEOUT_MS = 20_000
/** Ciphertext that may be queued in this process for one wire without a lane. */
const HIGH_WATER = 1024 * 1024
const BLOCK_TIMEOUT_MS = 20_000
/** What waits to be sent must have shrunk in this time: a peer that does not read keeps a place from others. */
const READ_TIMEOUT_MS = 60_000
/** Bytes of frames that may wait for one peer beside its window: some hundred times what an honest one leaves there. */
export const MAX_WAITING = 4 * 1024 * 1024
const UNREAD = 'does not read what it asked for'

/** Where all that a wire sends goes through. */
type Outlet = { push?(bytes: Uint8Array | null): boolean }

let serial = 0
const random = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length))

export class Peer {
  readonly id = `w${++serial}`
  readonly #wire: Wire
  readonly #context: PeerContext
  #mine: Side | undefined
  #theirs: Side | undefined
  #pendingProof: Bytes | undefined
  #lane: Lane | undefined
  /** Which of the two all windows take: nothing orders one after the other. */
  #windowsBy: 'lane' | 'wire' | undefined
  #key: PartyKey | undefined
  #plain = false
  #gone = false
  /** The other has said more than who it is. */
  #heard = false
  /** The last offer it showed: who starts to buy later has not heard it. */
  offer: Extract<Message, { t: 'offer' }> | undefined
  readonly #proofTimer: ReturnType<typeof setTimeout>

  constructor(wire: Wire, context: PeerContext) {
    this.#wire = wire
    this.#context = context
    // Whatever webtorrent decides, nobody gets plain pieces here.
    wire.unchoke = () => undefined
    // In the exchange interest has no meaning, and webtorrent drops an interested, choked wire after 5 s.
    const interested = wire.interested.bind(wire)
    wire.interested = () => {
      if (this.#plain) interested()
    }
    this.#proofTimer = setTimeout(() => {
      if (this.#key === undefined && !this.#plain) this.drop('did not prove its key in time')
    }, PROOF_TIMEOUT_MS)
    this.#bound(wire)
    wire.use(this.#extension())
    // Not the extension's own hook: that one is silent for a peer without it.
    wire.on('extended', (name: string | number, handshake: { m?: Record<string, number> }) => {
      if (name === 'handshake') this.#onExtendedHandshake(handshake)
    })
    wire.on('handshake', (_hash: string, _id: string, extensions: { extended?: boolean }) => {
      if (extensions.extended !== true) this.#onExtendedHandshake({})
    })
    const haves = () => context.events.haves(this, this.haves())
    wire.on('bitfield', haves)
    wire.on('have-all', haves)
    wire.on('have', (piece: number) => context.events.haves(this, [piece]))
    wire.on('unchoke', () => context.events.unchoked(this))
    wire.once('close', () => this.#onGone())
    wire.once('end', () => this.#onGone())
  }

  /** The proven key; `undefined` for an ordinary peer and before the proof. */
  get key(): PartyKey | undefined {
    return this.#key
  }
  /** What the peer says it is, signed in its proof. */
  get role(): Role | undefined {
    return this.#key === undefined ? undefined : this.#theirs?.role
  }
  get plain(): boolean {
    return this.#plain
  }
  get gone(): boolean {
    return this.#gone
  }
  get choking(): boolean {
    return this.#wire.peerChoking
  }

  haves(): number[] {
    const pieces: number[] = []
    for (let piece = 0; piece < this.#context.pieces; piece++)
      if (this.#wire.peerPieces.get(piece)) pieces.push(piece)
    return pieces
  }

  hasAll(): boolean {
    for (let piece = 0; piece < this.#context.pieces; piece++)
      if (!this.#wire.peerPieces.get(piece)) return false
    return true
  }

  send(message: Message): void {
    if (this.#gone || this.#wire.destroyed) return
    const frame = encodeMessage(message)
    // On the wire it would wait until nothing is left to send on the lane; who has spoken has seen our proof.
    if (this.#heard && this.#windowsBy !== 'wire' && this.#lane?.sendFrame(frame) === true) {
      if (this.#lane.framesWaiting > MAX_WAITING) this.drop(UNREAD)
      return
    }
    this.#wire.extended(EXTENSION, frame)
  }

  announce(piece: number): void {
    if (!this.#gone && !this.#wire.destroyed) this.#wire.have(piece)
  }

  /** Bytes of ciphertext that go in one piece. */
  get frame(): number {
    return this.#windowLane?.payload ?? FRAME
  }

  /** Of a window: with so many bytes left to hand over it is nearly out. */
  get nearlyOut(): number {
    return (this.#windowLane?.highWater ?? HIGH_WATER) / 4
  }

  get #windowLane(): Lane | undefined {
    this.#windowsBy ??= this.#lane?.open === true ? 'lane' : 'wire'
    return this.#windowsBy === 'lane' ? this.#lane : undefined
  }

  /** Ciphertext of a window, at most `frame` bytes: by the lane where there is one, else as a frame of the wire. */
  sendData(id: number, at: number, bytes: Bytes): void {
    if (this.#gone) return
    const lane = this.#windowLane
    if (lane === undefined) return this.send({ t: 'data', id, at, bytes })
    // What it held is lost; the rest alone would look like a cheat.
    if (!lane.open) return this.drop('closed its lane')
    lane.send(id, at, bytes)
  }

  /** webtorrent answers some messages by itself (`reject`, `ut_metadata`): what waits is looked at below it. */
  #bound(wire: Wire & Outlet): void {
    const push = wire.push?.bind(wire)
    if (push === undefined) return
    wire.push = (bytes) => {
      const more = push(bytes)
      if ((wire._readableState?.buffered ?? 0) > HIGH_WATER + MAX_WAITING) this.drop(UNREAD)
      return more
    }
  }

  /** Bytes queued here and in the data channel. */
  get buffered(): number {
    const channel = this.#context.connectionOf(this.#wire)?._channel
    return (this.#wire._readableState?.buffered ?? 0) + (channel?.bufferedAmount ?? 0)
  }

  /** Resolves when there is room for another window, or the peer is gone. */
  async drained(): Promise<void> {
    const timer = setTimeout(() => this.drop(UNREAD), READ_TIMEOUT_MS)
    try {
      if (this.#windowLane !== undefined) return await this.#windowLane.drained()
      while (!this.#gone && this.buffered > HIGH_WATER) await new Promise((done) => setTimeout(done, 5))
    } finally {
      clearTimeout(timer)
    }
  }

  /** One whole piece from an ordinary peer that unchoked us, by BEP 3 requests of 16 KiB. */
  async fetch(piece: number, bytes: number): Promise<Bytes> {
    const blocks: Promise<Uint8Array>[] = []
    for (let offset = 0; offset < bytes; offset += 16_384) {
      blocks.push(this.#request(piece, offset, Math.min(16_384, bytes - offset)))
    }
    return concat(...(await Promise.all(blocks)))
  }

  #request(piece: number, offset: number, length: number): Promise<Uint8Array> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error('the peer does not answer')), BLOCK_TIMEOUT_MS)
      this.#wire.request(piece, offset, length, (error, block) => {
        clearTimeout(timer)
        if (error !== null || block?.length !== length) fail(error ?? new Error('block of a wrong length'))
        else done(block)
      })
    })
  }

  interested(): void {
    if (!this.#gone && !this.#wire.amInterested) this.#wire.interested()
  }

  drop(why: string): void {
    if (this.#gone) return
    this.#context.events.log('peer dropped', { peer: this.id, key: this.#key, why })
    this.#wire.destroy()
    this.#onGone()
  }

  #onGone(): void {
    if (this.#gone) return
    this.#gone = true
    clearTimeout(this.#proofTimer)
    this.#lane?.close()
    this.#context.events.gone(this)
  }

  #extension(): new (wire: Wire) => WireExtension {
    const onFrame = (frame: Uint8Array) => this.#onFrame(frame)
    class Extension implements WireExtension {
      onMessage(frame: Uint8Array): void {
        onFrame(frame)
      }
    }
    Object.defineProperty(Extension.prototype, 'name', { value: EXTENSION })
    return Extension
  }

  #onExtendedHandshake(handshake: { m?: Record<string, number> }): void {
    if (this.#mine !== undefined || this.#plain) return
    if (handshake.m?.[EXTENSION] === undefined) {
      this.#plain = true
      // webtorrent keeps deciding that nothing is selected; whether we want pieces is ours to say.
      this.#wire.uninterested = () => undefined
      this.#context.events.plain(this)
      return
    }
    const sdp = this.#context.connectionOf(this.#wire)?._pc
    const certificate = fingerprintOf(sdp?.localDescription?.sdp ?? '')
    if (certificate === undefined) return this.drop('no DTLS fingerprint of our own')
    const floor = this.#context.floor()
    const nonce = random(32)
    const { key } = this.#context.identity
    const { role } = this.#context
    const lane = laneLimit(sdp)
    this.#mine = { key, nonce, role, certificate, ...(floor === undefined ? {} : { floor }) }
    this.send({
      t: 'hello',
      key,
      nonce,
      role,
      root: this.#context.root,
      ...(floor === undefined ? {} : { floor }),
      ...(lane === 0 ? {} : { lane }),
    })
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#gone) return
    try {
      const message = decodeMessage(frame)
      if (message === undefined) return
      if (message.t === 'hello') this.#onHello(message)
      else if (message.t === 'prove') this.#onProof(message.sig)
      else if (this.#key === undefined) this.drop('spoke before its proof')
      else {
        this.#heard = true
        if (message.t === 'offer') this.offer = message
        this.#context.events.message(this, message)
      }
    } catch (error) {
      if (!(error instanceof MessageError)) throw error
      this.drop(`sent a frame that does not fit: ${error.message}`)
    }
  }

  #onHello(hello: Extract<Message, { t: 'hello' }>): void {
    if (this.#theirs !== undefined) return this.drop('said hello twice')
    if (this.#mine === undefined) return this.drop('said hello before the handshake')
    if (hello.root !== this.#context.root) return this.drop('is in the swarm with another release root')
    const sdp = this.#context.connectionOf(this.#wire)?._pc
    const certificate = fingerprintOf(sdp?.remoteDescription?.sdp ?? '')
    if (certificate === undefined) return this.drop('no DTLS fingerprint of the peer')
    this.#theirs = {
      key: hello.key,
      nonce: hello.nonce,
      role: hello.role,
      certificate,
      ...(hello.floor === undefined ? {} : { floor: hello.floor }),
    }
    if (hello.floor !== undefined) this.#context.events.floor(hello.floor)
    // Before our proof: it tells the peer that the lane is open here.
    if (hello.lane !== undefined) this.#openLane(hello.lane)
    const { identity, root } = this.#context
    this.send({ t: 'prove', sig: prove(this.#mine, this.#theirs, root, identity.secret, random(32)) })
    if (this.#pendingProof !== undefined) this.#onProof(this.#pendingProof)
  }

  /** Without it ciphertext goes as frames: a lane that does not open is no reason to part. */
  #openLane(longest: number): void {
    const connection = this.#context.connectionOf(this.#wire)?._pc
    if (!connection || laneLimit(connection) === 0 || lanePayload(longest) <= 0) return
    try {
      this.#lane = new Lane(connection, longest, {
        data: (data) => this.#onLane(data),
        frame: (bytes) => this.#onFrame(bytes),
        spoilt: (why) => this.drop(`sent a message that does not fit: ${why}`),
      })
    } catch (error) {
      this.#context.events.log('no lane', { message: error instanceof Error ? error.message : String(error) })
    }
  }

  #onLane(data: Data): void {
    if (this.#gone) return
    if (this.#key === undefined) return this.drop('spoke before its proof')
    this.#context.events.message(this, data)
  }

  #onProof(sig: Bytes): void {
    if (this.#key !== undefined) return this.drop('proved its key twice')
    if (this.#theirs === undefined || this.#mine === undefined) {
      this.#pendingProof = sig
      return
    }
    if (!verifyProof(this.#mine, this.#theirs, this.#context.root, sig))
      return this.drop('did not prove its key')
    this.#key = this.#theirs.key
    clearTimeout(this.#proofTimer)
    this.#context.events.proven(this)
    this.#context.events.haves(this, this.haves())
  }
}
