/** Wallet connections that are open and do nothing: a WebSocket each, with the subscription that a NIP-47 client keeps. Tells `open`. */
import { randomBytes } from 'node:crypto'
import { WebSocket } from 'ws'
import { child } from '../child.ts'

export type IdlersConfig = Readonly<{ url: string; wallet: string; count: number }>

/** A relay takes so many of one address; this machine has many. */
const PER_ADDRESS = 500
const AT_ONCE = 100

child<IdlersConfig>(async ({ url, wallet, count }, tell) => {
  const sockets: WebSocket[] = []
  const open = (index: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const localAddress = `127.0.0.${2 + Math.floor(index / PER_ADDRESS)}`
      const socket = new WebSocket(url, { localAddress, perMessageDeflate: false })
      sockets.push(socket)
      const client = randomBytes(32).toString('hex')
      const messages = { kinds: [23195, 23197, 23196], authors: [wallet], '#p': [client], limit: 1 }
      socket.once('open', () => socket.send(JSON.stringify(['REQ', 'nwc', messages])))
      socket.on('message', (data) => (data as Buffer).includes('"EOSE"') && resolve())
      socket.once('error', reject)
    })
  for (let at = 0; at < count; at += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, i) => open(at + i)))
  tell('open')
  return {
    async stop() {
      for (const socket of sockets) socket.terminate()
    },
  }
})
