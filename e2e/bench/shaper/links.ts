/**
 * One WebRTC connection through the shaper: a UDP socket for each side, in place of the other peer. What comes in from one
 * side goes through that side's uplink and out to the other.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'
import type { Address } from './sdp.ts'
import type { Uplink } from './uplink.ts'

const BUFFER_BYTES = 4 * 1024 * 1024
/** Consent checks (RFC 7675) come every few seconds while a connection lives. */
const IDLE_MS = 60_000

/** An address that every peer on this machine can reach and none takes for loopback, which browsers leave out. */
export function ownAddress(): string {
  for (const addresses of Object.values(networkInterfaces()))
    for (const { family, internal, address } of addresses ?? [])
      if (family === 'IPv4' && !internal) return address
  return '127.0.0.1'
}

class Side {
  readonly #socket: Socket
  readonly #uplink: Uplink
  /** Where the peer is: as it said, and then as its packets come. */
  peer: Address | undefined
  other: Side | undefined
  lastMs = Date.now()

  constructor(socket: Socket, uplink: Uplink) {
    this.#socket = socket
    this.#uplink = uplink
    socket.on('message', (packet: Buffer, from: RemoteInfo) => {
      this.lastMs = Date.now()
      this.peer = { host: from.address, port: from.port }
      this.#uplink.packet(packet.length, () => this.other?.deliver(packet))
    })
    socket.on('error', () => undefined)
  }

  get address(): Address {
    const { address, port } = this.#socket.address()
    return { host: address, port }
  }

  deliver(packet: Buffer): void {
    if (this.peer === undefined) return
    try {
      this.#socket.send(packet, this.peer.port, this.peer.host, () => undefined)
    } catch {
      // Closed meanwhile.
    }
  }

  close(): void {
    this.#socket.close()
  }
}

async function openSide(host: string, uplink: Uplink): Promise<Side> {
  const socket = createSocket('udp4')
  await new Promise<void>((done, fail) => {
    socket.once('error', fail)
    socket.bind(0, host, () => {
      socket.removeListener('error', fail)
      done()
    })
  })
  try {
    socket.setRecvBufferSize(BUFFER_BYTES)
    socket.setSendBufferSize(BUFFER_BYTES)
  } catch {
    // The system's own sizes must do.
  }
  return new Side(socket, uplink)
}

export interface Link {
  /** Where the offerer finds its peer, and the answerer its own. */
  readonly towardsOfferer: Address
  readonly towardsAnswerer: Address
  offererAt(address: Address): void
  answererAt(address: Address): void
  close(): void
}

export async function openLink(
  host: string,
  offerer: Uplink,
  answerer: Uplink,
  onIdle: () => void,
): Promise<Link> {
  const [left, right] = await Promise.all([openSide(host, offerer), openSide(host, answerer)])
  left.other = right
  right.other = left
  let closed = false
  const watch = setInterval(() => {
    if (Date.now() - Math.max(left.lastMs, right.lastMs) < IDLE_MS) return
    close()
    onIdle()
  }, IDLE_MS)
  watch.unref()
  const close = (): void => {
    if (closed) return
    closed = true
    clearInterval(watch)
    left.close()
    right.close()
  }
  return {
    towardsOfferer: left.address,
    towardsAnswerer: right.address,
    offererAt: (address) => void (left.peer ??= address),
    answererAt: (address) => void (right.peer ??= address),
    close,
  }
}
