/**
 * node-datachannel's polyfill never fires the null candidate, so simple-peer waits 5 s a side before it sends
 * an offer. Gathering is complete when `iceGatheringState` says so.
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
  return Promise.resolve()
}
