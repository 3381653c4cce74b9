/** A bare data channel, the measure of what a connection carries. Descriptions carry all candidates. */

export async function offerRaw(peer: RTCPeerConnection): Promise<{ offer: string; channel: RTCDataChannel }> {
  const channel = peer.createDataChannel('raw', { ordered: true })
  channel.binaryType = 'arraybuffer'
  await peer.setLocalDescription(await peer.createOffer())
  return { offer: await gathered(peer), channel }
}

/** `received`: milliseconds from the first to the last byte. */
export async function receiveRaw(
  peer: RTCPeerConnection,
  offer: string,
  bytes: number,
): Promise<{ answer: string; received: Promise<number> }> {
  const received = new Promise<number>((done) => {
    peer.ondatachannel = ({ channel }) => {
      channel.binaryType = 'arraybuffer'
      let got = 0
      let firstMs = 0
      channel.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
        if (firstMs === 0) firstMs = performance.now()
        got += data.byteLength
        if (got < bytes) return
        done(performance.now() - firstMs)
        channel.send('done')
      }
    }
  })
  await peer.setRemoteDescription(JSON.parse(offer) as RTCSessionDescriptionInit)
  await peer.setLocalDescription(await peer.createAnswer())
  return { answer: await gathered(peer), received }
}

/** Resolves when the other side has all of it. */
export async function sendRaw(channel: RTCDataChannel, bytes: number, messageBytes: number): Promise<void> {
  if (channel.readyState !== 'open')
    await new Promise((done) => channel.addEventListener('open', done, { once: true }))
  const message = new Uint8Array(messageBytes)
  for (let at = 0; at < messageBytes; at += 65_536)
    crypto.getRandomValues(message.subarray(at, Math.min(messageBytes, at + 65_536)))
  const over = new Promise((done) => channel.addEventListener('message', done, { once: true }))
  const high = Math.max(4 * 1024 * 1024, 8 * messageBytes)
  channel.bufferedAmountLowThreshold = high / 2
  for (let sent = 0; sent < bytes; sent += messageBytes) {
    if (channel.bufferedAmount > high)
      await new Promise((done) => channel.addEventListener('bufferedamountlow', done, { once: true }))
    channel.send(message)
  }
  await over
}

async function gathered(peer: RTCPeerConnection): Promise<string> {
  if (peer.iceGatheringState !== 'complete')
    await new Promise<void>((done) => {
      peer.onicegatheringstatechange = () => {
        if (peer.iceGatheringState === 'complete') done()
      }
    })
  const { type, sdp } = peer.localDescription ?? { type: 'offer', sdp: '' }
  return JSON.stringify({ type, sdp })
}
