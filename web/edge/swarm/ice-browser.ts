/** Browsers gather well by themselves; they only wait for Node peers (`late-candidates.ts`). */
import { LATER_MS, withoutCandidates } from './late-candidates.ts'

let tuned = false

export function tuneIce(): Promise<void> {
  if (tuned) return Promise.resolve()
  tuned = true
  const stock: (this: RTCPeerConnection, description: RTCSessionDescriptionInit) => Promise<void> =
    RTCPeerConnection.prototype.setRemoteDescription
  RTCPeerConnection.prototype.setRemoteDescription = async function (
    this: RTCPeerConnection,
    given: RTCSessionDescriptionInit,
  ) {
    const { description, candidates } = withoutCandidates({ type: given.type, sdp: given.sdp ?? '' })
    await stock.call(this, description)
    if (candidates.length === 0) return
    setTimeout(() => {
      if (this.signalingState === 'closed') return
      for (const candidate of candidates) this.addIceCandidate(candidate).catch(() => undefined)
    }, LATER_MS)
  }
  return Promise.resolve()
}
