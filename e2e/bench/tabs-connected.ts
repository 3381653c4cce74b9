/** When the first connection of this page stood: the moment from which both contenders are timed. To be imported first. */
let firstMs = 0

globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration?: RTCConfiguration) {
    super(configuration)
    this.addEventListener('connectionstatechange', () => {
      if (this.connectionState === 'connected' && firstMs === 0) firstMs = performance.now()
    })
  }
}

export const connectedMs = (): number => firstMs
