/** TCP through a lane: what the server behind it sends shares the lane's uplink with everything else. */
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import type { Uplink } from './uplink.ts'

/** Small enough for flows to take fair turns, each with one piece in the queue. */
const CHUNK = 16 * 1024

export async function openForward(target: number, uplink: Uplink): Promise<{ port: number; server: Server }> {
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    client.on('error', () => upstream.destroy())
    upstream.on('error', () => client.destroy())
    client.pipe(upstream)
    const pump = async (): Promise<void> => {
      for await (const data of upstream as AsyncIterable<Buffer>) {
        for (let at = 0; at < data.length; at += CHUNK) {
          const chunk = data.subarray(at, at + CHUNK)
          await uplink.stream(chunk.length)
          if (!client.write(chunk))
            await new Promise<void>((done) => client.once('drain', done).once('close', done))
          if (client.destroyed) return void upstream.destroy()
        }
      }
      client.end()
    }
    pump().catch(() => client.destroy())
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return { port: (server.address() as AddressInfo).port, server }
}
