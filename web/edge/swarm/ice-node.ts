/**
 * node-datachannel's polyfill never fires the null candidate, so simple-peer waits 5 s a side before it sends
 * an offer. Gathering is complete when `iceGatheringState` says so.
 *
 * A description that says "end of candidates" makes libdatachannel fail now and then: it hands the candidates
 * over after the description, and its ICE agent may meanwhile see that none is there and none will come. Without
 * that line (RFC 8840 section 8.2, optional) it waits for them.
 */
import Peer from '@thaunknown/simple-peer/lite.js'

let tuned = false

export function tuneIce(): Promise<void> {
  if (tuned) return Promise.resolve()
  tuned = true
  const stock = Peer.prototype._onIceStateChange
  Peer.prototype._onIceStateChange = function (this: typeof Peer.prototype) {
    stock.call(this)
    if (this.destroyed || this._iceComplete || this._pc?.iceGatheringState !== 'complete') return
    this._iceComplete = true
    if (this._iceCompleteTimer !== null) clearTimeout(this._iceCompleteTimer)
    this.emit('_iceComplete')
  }
  const signal = Peer.prototype.signal
  Peer.prototype.signal = function (this: typeof Peer.prototype, data) {
    const whole = typeof data === 'string' || data.sdp === undefined
    signal.call(this, whole ? data : { ...data, sdp: data.sdp.replaceAll(/a=end-of-candidates\r?\n/g, '') })
  }
  return Promise.resolve()
}
