/** An allowance as the source of another one in the same process: the wallet port, without a network between. */
import { toHex, type Bytes } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import type { NwcTransport, Reply } from '../wallet/nwc-transport.ts'
import { walletOver } from '../wallet/nwc.ts'
import type { Wallet, WalletEvent } from '../wallet/wallet.ts'
import { connectionState, execute, tellTransaction } from './methods.ts'
import type { Front, Response, Running } from './running.ts'

/** A payment is answered when it is known; what is unknown above says so at once. */
const PAY_TIMEOUT_MS = 2 ** 31 - 1

export function localWallet(running: Running, random: (length: number) => Bytes): Wallet {
  const listeners = new Set<(type: string, notification: unknown) => void>()
  const waiting = new Map<string, (reply: Reply) => void>()
  const status = liveCell<{ connected: boolean; trouble?: string }>({ connected: true })
  let closed = false
  let told = ''
  const tell = (type: string, notification: unknown): void => {
    for (const run of [...listeners]) run(type, notification)
  }
  const finish = (request: string, reply: Reply): void => {
    const done = waiting.get(request)
    waiting.delete(request)
    done?.(reply)
  }
  const front: Front = {
    answered: (request, response) => finish(request, replyOf(response)),
    told(event: WalletEvent) {
      const type =
        event.tag === 'sent' ? 'payment_sent' : event.tag === 'received' ? 'payment_received' : undefined
      const notification = tellTransaction(event.transaction, undefined)
      if (type !== undefined) return tell(type, notification)
      const settle_deadline = 'settleByMs' in event ? Math.floor(event.settleByMs / 1000) : 0
      tell('hold_invoice_accepted', { ...notification, settle_deadline })
    },
    changed() {
      const state = connectionState(running)
      const text = JSON.stringify(state)
      if (text === told) return
      told = text
      tell('connection_updated', state)
    },
    // Its owner sees all layers; nobody asks for connections over it.
    belowChanged: () => undefined,
    unknown: (request, message) => finish(request, { tag: 'no-answer', sent: true, message }),
  }
  running.fronts.add(front)

  const transport: NwcTransport = {
    status,
    async request(method, params) {
      if (closed) return { tag: 'no-answer', sent: false, message: 'This allowance has been closed.' }
      // Never 64 hex digits: nobody can send it again, so nothing need be remembered of it.
      const request = `local-${toHex(random(16))}`
      const later = new Promise<Reply>((resolve) => waiting.set(request, resolve))
      const response = await execute(running, request, method, params as Record<string, unknown>)
      if (response === undefined) return later
      waiting.delete(request)
      return replyOf(response)
    },
    onNotification(run) {
      listeners.add(run)
      return () => listeners.delete(run)
    },
    close() {
      if (closed) return
      closed = true
      running.fronts.delete(front)
      const message = 'This allowance has been closed.'
      for (const request of [...waiting.keys()]) finish(request, { tag: 'no-answer', sent: true, message })
      status.set({ connected: false, trouble: message })
    },
  }
  return walletOver(transport, { relays: running.meta.relays }, { payTimeoutMs: PAY_TIMEOUT_MS })
}

const replyOf = (response: Response): Reply =>
  'result' in response
    ? { tag: 'result', result: response.result }
    : { tag: 'refused', code: response.error.code, message: response.error.message }
