import { expect, test } from 'vitest'
import { withoutCandidates } from './late-candidates.ts'

const lines = [
  'v=0',
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
  'a=candidate:1 1 UDP 2114977791 192.0.2.2 4000 typ host',
  'a=mid:data',
  'a=candidate:2 1 UDP 2116026111 fd00::2 4000 typ host',
  'a=end-of-candidates',
  '',
]
const sdp = lines.join('\r\n')

test('an offer gives its candidates apart, with their section', () => {
  const { description, candidates } = withoutCandidates({ type: 'offer', sdp })
  expect(description).toEqual({ type: 'offer', sdp: [lines[0], lines[1], lines[3], ''].join('\r\n') })
  expect(candidates).toEqual([
    { candidate: 'candidate:1 1 UDP 2114977791 192.0.2.2 4000 typ host', sdpMid: 'data' },
    { candidate: 'candidate:2 1 UDP 2116026111 fd00::2 4000 typ host', sdpMid: 'data' },
  ])
})

test('an answer, and what has no description, stay as they are', () => {
  for (const given of [{ type: 'answer', sdp }, { type: 'offer' }, {}])
    expect(withoutCandidates(given)).toEqual({ description: given, candidates: [] })
})
