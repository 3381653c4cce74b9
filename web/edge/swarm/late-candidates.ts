/**
 * Who answers an offer starts its connectivity checks a moment later. Checks that reach the offerer before
 * its answer does make libdatachannel (Node) connect in the middle of taking the answer, find no fingerprint
 * to verify yet and fail the handshake: 1 of 8 here under load. What fails so is offered again (`glare.ts`), seconds later.
 * The offerer's own checks (RFC 8445) connect at once where there is no NAT; behind one, the later ones do.
 */

/** Long enough for most answers to travel through a tracker: who waits for these checks waits for this. */
export const LATER_MS = 300
const MAX_CANDIDATES = 64

export type Description = Readonly<{ type?: string; sdp?: string }>
export type LateCandidate = Readonly<{ candidate: string; sdpMid: string }>

/** An offer without its candidates, and these; anything else as it is. */
export function withoutCandidates<T extends Description>(
  description: T,
): { description: T; candidates: readonly LateCandidate[] } {
  const { type, sdp } = description
  if (type !== 'offer' || sdp === undefined) return { description, candidates: [] }
  const candidates: LateCandidate[] = []
  let sdpMid = '0'
  const kept = sdp.split('\r\n').filter((line) => {
    if (line.startsWith('a=mid:')) sdpMid = line.slice('a=mid:'.length)
    if (line.startsWith('a=candidate:') && candidates.length < MAX_CANDIDATES)
      candidates.push({ candidate: line.slice('a='.length), sdpMid: '' })
    return !line.startsWith('a=candidate:') && line !== 'a=end-of-candidates'
  })
  // One data channel, one section: the mid may stand after the candidates.
  return {
    description: { ...description, sdp: kept.join('\r\n') },
    candidates: candidates.map(({ candidate }) => ({ candidate, sdpMid })),
  }
}
