/** What a relay tells everyone who comes (`GET /api/config`), parsed for tabs and devices alike. */
import * as v from 'valibot'
import { msatSchema, partyKeySchema, sha256HexSchema } from '../core/release/target.ts'
import { parseMoney, type Money } from '../core/money/msat.ts'

const MAX_CONFIG_BYTES = 256 * 1024
const FETCH_TIMEOUT_MS = 15_000

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const webSocketUrl = v.pipe(text(300), v.regex(/^wss?:\/\//))
/** A TUF key object; its id is the SHA-256 of its canonical JSON. */
export const tufKeySchema = v.object({
  keytype: v.literal('ed25519'),
  scheme: v.literal('ed25519'),
  keyval: v.object({ public: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)) }),
})
export type TufPublicKey = v.InferOutput<typeof tufKeySchema>

export const iceServerSchema = v.object({
  urls: v.union([text(300), v.pipe(v.array(text(300)), v.maxLength(8))]),
  username: v.exactOptional(text(200)),
  credential: v.exactOptional(text(500)),
})
export type IceServer = v.InferOutput<typeof iceServerSchema>

export const relayConfigSchema = v.object({
  version: text(40),
  /** Nostr key of the relay's wallet service; also names its play money. */
  relayKey: partyKeySchema,
  money: v.custom<Money>((x) => typeof x === 'string' && parseMoney(x) !== undefined),
  nostrUrl: webSocketUrl,
  trackerUrl: webSocketUrl,
  iceServers: v.pipe(v.array(iceServerSchema), v.maxLength(16)),
  /** The relay's TUF keys, to be named in each vendor's root. */
  tuf: v.object({ snapshot: tufKeySchema, timestamp: tufKeySchema }),
  openAccounts: v.object({
    grantMsat: msatSchema,
    perAddress: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  }),
  vendors: v.pipe(v.array(v.object({ id: sha256HexSchema, name: text(80) })), v.maxLength(10_000)),
})
export type RelayConfig = v.InferOutput<typeof relayConfigSchema>

/** The message says which relay, what happened and what to do. */
export class RelayConfigError extends Error {
  override readonly name = 'RelayConfigError'
  readonly code: 'unreachable' | 'not-a-relay'
  constructor(code: 'unreachable' | 'not-a-relay', message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Asks the relay at `baseUrl` (http or https). @throws RelayConfigError */
export async function fetchRelayConfig(baseUrl: string, fetcher: typeof fetch = fetch): Promise<RelayConfig> {
  let response: Response
  let body: string
  try {
    const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS)
    response = await fetcher(new URL('/api/config', baseUrl), { cache: 'no-store', signal })
    body = await response.text()
  } catch (cause) {
    const message = `The relay at ${baseUrl} does not answer. Check the address and that it runs.`
    throw new RelayConfigError('unreachable', message, { cause })
  }
  const parsed =
    response.ok && body.length <= MAX_CONFIG_BYTES
      ? v.safeParse(relayConfigSchema, parseJson(body))
      : undefined
  if (!parsed?.success) {
    const message = `What answers at ${baseUrl} (status ${response.status}) is not a Satpatch relay. Check the address.`
    throw new RelayConfigError('not-a-relay', message)
  }
  return parsed.output
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
