/** One end of a bare data channel of node-datachannel: nothing but messages. Tells `connected` and, where they arrive, `done`. */
import nodeDataChannel, { type DataChannel } from 'node-datachannel'
import { child } from '../child.ts'

export type RawConfig = Readonly<{ sends: boolean; bytes: number; messageBytes: number }>

/** Bytes that wait in the channel. */
const HIGH_WATER = 2 * 1024 * 1024

child<RawConfig>(async ({ sends, bytes, messageBytes }, tell) => {
  const pc = new nodeDataChannel.PeerConnection(sends ? 'sender' : 'receiver', {
    iceServers: [],
    maxMessageSize: 512 * 1024,
  })
  const described = new Promise<string>((done) =>
    pc.onGatheringStateChange((state) => {
      const local = pc.localDescription()
      if (state === 'complete' && local !== null) done(local.sdp)
    }),
  )
  // A channel that nothing refers to is collected, and what comes on it is lost.
  const kept: DataChannel[] = []
  if (sends) {
    const channel = pc.createDataChannel('raw')
    kept.push(channel)
    const message = Buffer.alloc(messageBytes, 7)
    let left = bytes
    const send = (): void => {
      while (left > 0 && channel.bufferedAmount() < HIGH_WATER) {
        channel.sendMessageBinary(left < messageBytes ? message.subarray(0, left) : message)
        left -= messageBytes
      }
    }
    channel.setBufferedAmountLowThreshold(HIGH_WATER / 2)
    channel.onBufferedAmountLow(send)
    channel.onOpen(() => {
      tell('connected')
      send()
    })
  } else {
    pc.onDataChannel((channel: DataChannel) => {
      kept.push(channel)
      tell('connected')
      let got = 0
      channel.onMessage((data) => {
        got += (data as Buffer).length
        if (got === bytes) tell('done')
      })
    })
  }
  return {
    answers: {
      describe: async () => ({ sdp: await described }),
      take: async ({ sdp }) => {
        pc.setRemoteDescription(String(sdp), (sends ? 'answer' : 'offer') as never)
        return sends ? {} : { sdp: await described }
      },
    },
    async stop() {
      for (const channel of kept) channel.close()
      pc.close()
    },
  }
})
