/** The WebRTC connections of this process: when the first one opened, and what went over them. */
import Peer from '@thaunknown/simple-peer/lite.js'
import { nowMs, type Detail } from './child.ts'

type Counted = { getStats?(): unknown }
const connections = new Set<Counted>()

/** Calls back when the first data channel opens: both contenders are timed from there. Before any peer is made. */
export function onConnected(run: (atMs: number) => void): void {
  const { prototype } = Peer
  const emit = prototype.emit
  prototype.emit = function (this: typeof prototype, event: string, ...values: never[]) {
    if (event === 'connect' && this._pc !== null) {
      connections.add(this._pc as Counted)
      if (connections.size === 1) run(nowMs())
    }
    return emit.call(this, event, ...values)
  }
}

type Report = Iterable<
  readonly [string, Readonly<{ type?: string; bytesSent?: number; bytesReceived?: number }>]
>

/** Payload bytes of all data channels so far. */
export async function channelBytes(): Promise<Detail> {
  let [sent, received] = [0, 0]
  for (const connection of connections) {
    const report = (await connection.getStats?.()) as Report | undefined
    for (const [, { type, bytesSent = 0, bytesReceived = 0 }] of report ?? [])
      if (type === 'candidate-pair') [sent, received] = [sent + bytesSent, received + bytesReceived]
  }
  return { sent, received }
}

/** Counts what this process says and hears on WebSockets of the platform: Nostr, wallet messages included. */
export function countWebSockets(): () => Detail {
  const count = { sent: 0, received: 0, messages: 0 }
  const Plain = globalThis.WebSocket
  globalThis.WebSocket = class extends Plain {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols)
      this.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
        count.received += typeof data === 'string' ? data.length : (data as ArrayBuffer).byteLength
        count.messages++
      })
    }
    override send(data: string | ArrayBufferLike | Blob | ArrayBufferView<ArrayBuffer>): void {
      count.sent += typeof data === 'string' ? data.length : (data as ArrayBuffer).byteLength
      count.messages++
      super.send(data as string)
    }
  }
  return () => ({ ...count })
}
