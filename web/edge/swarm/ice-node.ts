/**
 * node-datachannel's polyfill never fires the null candidate, so simple-peer waits 5 s a side before it sends
 * an offer. Gathering is complete when `iceGatheringState` says so.
 */
import Peer from '@thaunknown/simple-peer/lite.js'
import { LATER_MS, withoutCandidates } from './late-candidates.ts'

let tuned = false

export function tuneIce(): Promise<void> {
  if (tuned) return Promise.resolve()
  tuned = true
  const onIceStateChange = Peer.prototype._onIceStateChange
  Peer.prototype._onIceStateChange = function (this: typeof Peer.prototype) {
    onIceStateChange.call(this)
    if (this.destroyed || this._iceComplete || this._pc?.iceGatheringState !== 'complete') return
    this._iceComplete = true
    if (this._iceCompleteTimer !== null) clearTimeout(this._iceCompleteTimer)
    this.emit('_iceComplete')
  }
  const signal = Peer.prototype.signal
  Peer.prototype.signal = function (this: typeof Peer.prototype, data) {
    if (typeof data === 'string') return signal.call(this, data)
    const { description, candidates } = withoutCandidates(data)
    signal.call(this, description)
    if (candidates.length === 0) return
    const later = setTimeout(() => {
      for (const candidate of candidates) if (!this.destroyed) signal.call(this, { candidate })
    }, LATER_MS)
    later.unref()
  }
  return Promise.resolve()
}
