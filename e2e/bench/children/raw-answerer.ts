/** The answering end of a bare data channel whose other end is a tab. Tells `answer`, then `received` with the time. */
import { RTCPeerConnection } from 'node-datachannel/polyfill'
import { child } from '../child.ts'
import { receiveRaw } from '../tabs-raw.ts'

export type RawAnswererConfig = Readonly<{ offer: string; bytes: number }>

child<RawAnswererConfig>(async ({ offer, bytes }, tell) => {
  const peer = new RTCPeerConnection({ iceServers: [] }) as unknown as globalThis.RTCPeerConnection
  const { answer, received } = await receiveRaw(peer, offer, bytes)
  tell('answer', { answer })
  void received.then((ms) => tell('received', { ms }))
  return {
    async stop() {
      peer.close()
    },
  }
})
