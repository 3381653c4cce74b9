/** Asks the vendor to take this device in, and waits for the answer (ARCHITECTURE.md "Joining"). */
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { fromHex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { GIFT_WRAP, JOIN_ACCEPT, JOIN_REQUEST } from '../../web/core/nostr/kinds.ts'
import { joinAcceptSchema, type JoinAccept, type JoinRequest } from '../../web/core/rollout/messages.ts'
import { composeConnection, parseConnection } from '../../web/core/wallet/connection.ts'
import { unwrap, wrap } from '../../web/edge/nostr/nip59.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import { withWalletConnection } from '../config/template.ts'
import type { DeviceConfig } from '../config/config.ts'
import { writeDurably } from '../storage/durable.ts'
import { writeJoinState, type JoinState } from './join-state.ts'

/** The request is repeated this often: it may have come before the vendor's page listened. */
const REPEAT_MS = 60_000

export type JoinDeps = Readonly<{
  config: DeviceConfig
  state: JoinState
  pool: Pool
  nowMs: () => number
  signal: AbortSignal
  onTrouble: (text: string) => void
}>

/** Resolves when the vendor has accepted; rejects when `signal` aborts. */
export function awaitAcceptance(deps: JoinDeps): Promise<JoinAccept> {
  const { config, state, pool, signal } = deps
  const request: JoinRequest = {
    v: 1,
    secret: state.secret,
    name: config.name,
    hardware: config.hardware,
    walletClient: publicKey(fromHex(config.walletClient)),
  }
  const ask = (): void => {
    const template = {
      kind: JOIN_REQUEST,
      created_at: Math.floor(deps.nowMs() / 1000),
      tags: [['p', state.nostr]],
      content: JSON.stringify(request),
    }
    pool
      .publish(wrap(template, config.identity.secret, state.nostr), { timeoutMs: REPEAT_MS })
      .catch((error: unknown) => deps.onTrouble(error instanceof Error ? error.message : String(error)))
  }
  return new Promise((resolve, reject) => {
    const stop = pool.subscribe([{ kinds: [GIFT_WRAP], '#p': [config.identity.key] }], (event) => {
      const rumour = unwrap(event, config.identity.secret)
      if (rumour?.kind !== JOIN_ACCEPT || rumour.pubkey !== state.nostr) return
      const accept = parseAccept(rumour.content)
      if (accept?.vendor !== config.vendor) return
      end()
      resolve(accept)
    })
    const timer = setInterval(ask, REPEAT_MS)
    const end = (): void => {
      stop()
      clearInterval(timer)
      signal.removeEventListener('abort', onAbort)
    }
    const onAbort = (): void => {
      end()
      reject(signal.reason instanceof Error ? signal.reason : new Error('stopped'))
    }
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    ask()
  })
}

function parseAccept(content: string): JoinAccept | undefined {
  try {
    const parsed = v.safeParse(joinAcceptSchema, JSON.parse(content))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}

/**
 * Writes down what the vendor granted: first the wallet connection, then that joining is over. Gives the connection
 * (a secret), or `undefined` when the vendor funds nothing.
 */
export async function keepAcceptance(
  config: DeviceConfig,
  state: JoinState,
  accept: JoinAccept,
  nowMs: number,
): Promise<string | undefined> {
  let connection = config.walletConnection
  if (connection === undefined && accept.wallet !== undefined && accept.wallet.relays.length > 0) {
    const { walletPubkey: wallet, relays } = accept.wallet
    const made = composeConnection({ wallet, relays, secret: config.walletClient })
    if (parseConnection(made).ok) {
      connection = made
      const source = await readFile(config.file, 'utf8')
      await writeDurably(config.file, withWalletConnection(source, config.file, made))
    }
  }
  await writeJoinState(config.dataDir, { ...state, acceptedAt: nowMs })
  return connection
}
