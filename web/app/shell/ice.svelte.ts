/**
 * Whether WebRTC connections come up at all. Peers that are found and never reached look like nobody; only ICE
 * itself tells them apart, and what is missing then is a server that the relay should name.
 */
import type { IceServer } from '../../edge/relay-config.ts'

class Ice {
  #failed = $state(0)
  #connected = $state(0)

  /** Several attempts have failed and none has come up in this page. */
  get blocked(): boolean {
    return this.#failed >= 2 && this.#connected === 0
  }

  /** Watches every connection that is made from now on; call before the swarm is loaded. */
  watch(): void {
    const Native = globalThis.RTCPeerConnection
    if (Native === undefined) return
    const opened = (connection: RTCPeerConnection) => {
      let settled = false
      connection.addEventListener('iceconnectionstatechange', () => {
        const state = connection.iceConnectionState
        if (settled || (state !== 'failed' && state !== 'connected' && state !== 'completed')) return
        settled = true
        if (state === 'failed') this.#failed++
        else this.#connected++
      })
    }
    globalThis.RTCPeerConnection = class extends Native {
      constructor(configuration?: RTCConfiguration) {
        super(configuration)
        opened(this)
      }
    }
  }
}

export const ice = new Ice()

/** What the relay should name, from what it names already. */
export function missingServer(servers: readonly IceServer[]): string {
  const urls = servers.flatMap((server) => server.urls)
  if (urls.some((url) => /^turns?:/.test(url))) {
    return 'The relay names a TURN server; it cannot be reached from here. Check its address and password, and the firewall.'
  }
  return urls.some((url) => /^stuns?:/.test(url))
    ? 'The relay names a STUN server, which is not enough for this network: start it with a TURN server too (--turn).'
    : 'The relay names no STUN and no TURN server: start it with --stun, and with --turn for strict networks.'
}
