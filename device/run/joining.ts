/** Asks the vendor to take this device in, and waits for the answer (ARCHITECTURE.md "Joining"). */
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { fromHex, toHex, type PartyKey } from '../../web/core/bytes.ts'
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

type HearDeps = Readonly<{
  config: DeviceConfig
  state: JoinState
  /** The vendor's key as its metadata names it by now, where that is known. */
  vendorKey?: () => PartyKey | undefined
  pool: Pool
  signal: AbortSignal
}>
export type JoinDeps = HearDeps & Readonly<{ nowMs: () => number; onTrouble: (text: string) => void }>

/** Resolves when the vendor has accepted; rejects when `signal` aborts. */
export function awaitAcceptance(deps: JoinDeps): Promise<JoinAccept> {
  const { config, state, pool } = deps
  const request: JoinRequest = {
    v: 1,
    secret: state.secret,
    name: config.name,
    hardware: config.hardware,
    walletClient: publicKey(fromHex(config.walletClient)),
  }
  const ask = (): void => {
    const [to = state.nostr] = vendorKeys(deps)
    const template = {
      kind: JOIN_REQUEST,
      created_at: Math.floor(deps.nowMs() / 1000),
      tags: [['p', to]],
      content: JSON.stringify(request),
    }
    pool
      .publish(wrap(template, config.identity.secret, to), { timeoutMs: REPEAT_MS })
      .catch((error: unknown) => deps.onTrouble(error instanceof Error ? error.message : String(error)))
  }
  const accepted = hear(deps, () => true)
  const timer = setInterval(ask, REPEAT_MS)
  if (!deps.signal.aborted) ask()
  return accepted.finally(() => clearInterval(timer))
}

/** Resolves when the vendor gives an allowance to a device that was accepted without one; rejects as above. */
export const awaitAllowance = (deps: HearDeps): Promise<JoinAccept> =>
  hear(deps, (accept) => connectionOf(deps.config, accept) !== undefined)

const vendorKeys = ({ state, vendorKey }: HearDeps): readonly PartyKey[] => [
  ...new Set([vendorKey?.() ?? state.nostr, state.nostr]),
]

function hear(deps: HearDeps, wanted: (accept: JoinAccept) => boolean): Promise<JoinAccept> {
  const { config, pool, signal } = deps
  return new Promise((resolve, reject) => {
    const stop = pool.subscribe([{ kinds: [GIFT_WRAP], '#p': [config.identity.key] }], (event) => {
      const rumour = unwrap(event, config.identity.secret)
      if (rumour?.kind !== JOIN_ACCEPT || !vendorKeys(deps).includes(rumour.pubkey)) return
      const accept = parseAccept(rumour.content)
      if (accept?.vendor !== config.vendor || !wanted(accept)) return
      end()
      resolve(accept)
    })
    const end = (): void => {
      stop()
      signal.removeEventListener('abort', onAbort)
    }
    const onAbort = (): void => {
      end()
      reject(signal.reason instanceof Error ? signal.reason : new Error('stopped'))
    }
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
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
  const made = config.walletConnection === undefined ? connectionOf(config, accept) : undefined
  if (made !== undefined) {
    const source = await readFile(config.file, 'utf8')
    await writeDurably(config.file, withWalletConnection(source, config.file, made))
  }
  await writeJoinState(config.dataDir, { ...state, acceptedAt: state.acceptedAt ?? nowMs })
  return config.walletConnection ?? made
}

function connectionOf({ walletClient: secret }: DeviceConfig, { wallet }: JoinAccept): string | undefined {
  if (wallet === undefined || wallet.relays.length === 0) return undefined
  const made = composeConnection({ wallet: wallet.walletPubkey, relays: wallet.relays, secret })
  return parseConnection(made).ok ? made : undefined
}

/** The client key of the vendor's allowance; `undefined`: the owner's own wallet pays, or there is nobody to give one. */
export function allowanceClient(config: DeviceConfig, state: JoinState | undefined): PartyKey | undefined {
  const { walletConnection, walletClient } = config
  const own = walletConnection === undefined ? undefined : parseConnection(walletConnection)
  if (own?.ok === true && toHex(own.connection.secret) !== walletClient) return undefined
  return state === undefined ? undefined : publicKey(fromHex(walletClient))
}
