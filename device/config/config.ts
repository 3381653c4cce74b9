/** `device.toml`: read with errors that name the file, the key and what to do. Written by `template.ts`. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import * as v from 'valibot'
import { fromHex, type PartyKey, type VendorId } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import {
  DEFAULT_BUDGET_BYTES,
  DEFAULT_MIRROR,
  DEFAULT_PAYMENT_SLOTS,
  DEFAULT_PREFER,
  MAX_PAYMENT_SLOTS,
  type MirrorUse,
  type Preference,
} from '../../web/core/swarm/buyer-policy.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import type { Identity } from '../../web/edge/swarm/api.ts'
import { didYouMean } from '../cli/suggest.ts'
import { errnoOf } from '../storage/errors.ts'
import { kioskAddress, KIOSK_WANTED, type KioskAddress } from './kiosk-address.ts'
import { MIRROR_USES, parseRate, PREFERENCES } from './trade.ts'

/** The message says which file and key, what is wrong with it and what to write instead. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly key: string | undefined
  constructor(message: string, key?: string, options?: ErrorOptions) {
    super(message, options)
    this.key = key
  }
}

const text = (what: string, max: number) =>
  v.pipe(
    v.string(`must be ${what}, in quotes`),
    v.nonEmpty(`must be ${what}`),
    v.maxLength(max, `has more than ${max} characters`),
  )
const hex = (what: string, length: number) =>
  v.pipe(
    v.string(`must be ${what}, in quotes`),
    v.toLowerCase(),
    v.regex(new RegExp(`^[0-9a-f]{${length}}$`), `must be ${what}: ${length} characters 0-9 and a-f`),
  )
const count = (what: string, min = 0) =>
  v.pipe(
    v.number(`must be ${what}, a whole number without quotes`),
    v.safeInteger(`must be ${what}, a whole number`),
    v.minValue(min, `must be at least ${min}`),
  )
const list = <T extends v.GenericSchema<unknown, string>>(item: T, max: number) =>
  v.pipe(
    v.array(item, 'must be a list in brackets: ["…", "…"]'),
    v.maxLength(max, `has more than ${max} entries`),
  )
const url = (protocols: readonly string[], what: string) =>
  v.pipe(
    v.string(`must be ${what}, in quotes`),
    v.maxLength(300, 'has more than 300 characters'),
    v.check((value) => URL.canParse(value) && protocols.includes(new URL(value).protocol), `must be ${what}`),
    v.transform((value) => value.replace(/\/+$/, '')),
  )
const secret = hex('a secret key as "satpatch device init" makes it', 64)
const optionalCommand = v.optional(
  v.pipe(v.string('must be a command, in quotes'), v.maxLength(4000, 'is too long')),
  '',
)

const choice = <const T extends readonly string[]>(words: T) =>
  v.picklist(words, `must be ${words.map((word) => `"${word}"`).join(' or ')}`)
/** Bytes a second, as a number or as text with a unit. */
const rate = v.union(
  [
    count('bytes a second'),
    v.pipe(
      v.string(),
      v.check((value) => parseRate(value) !== undefined),
      v.transform((value) => parseRate(value) ?? 0),
    ),
  ],
  'must be bytes a second: 500000, "500K" or "2M" (0: no limit)',
)

const schema = v.strictObject({
  version: v.literal(1, 'must be 1'),
  name: text('a name for the fleet’s list', 80),
  hardware: text('a hardware id, such as "pi4"', 64),
  data_dir: text('a directory', 1000),
  kiosk: v.optional(
    v.pipe(
      v.string(`must be ${KIOSK_WANTED}, in quotes`),
      v.check((value) => value === '' || kioskAddress(value) !== undefined, `must be ${KIOSK_WANTED}`),
    ),
    '',
  ),
  vendor: v.strictObject({
    root: hex('the vendor’s id', 64),
    relays: v.pipe(
      list(url(['http:', 'https:'], 'an address such as "https://relay.example"'), 16),
      v.minLength(1, 'must name at least one relay'),
    ),
    mirrors: v.optional(list(url(['http:', 'https:'], 'an address such as "https://files.example"'), 16), []),
    nostr_relays: v.optional(list(url(['ws:', 'wss:'], 'an address such as "wss://relay.example"'), 16), []),
    trackers: v.optional(list(url(['ws:', 'wss:'], 'an address such as "wss://tracker.example"'), 16), []),
  }),
  keys: v.strictObject({ device: secret, wallet_client: secret }),
  wallet: v.optional(
    v.strictObject({
      connection: v.optional(
        v.pipe(
          v.string('must be a wallet connection, in quotes'),
          v.rawCheck(({ dataset, addIssue }) => {
            if (!dataset.typed || dataset.value === '') return
            // The value itself is a secret: it never comes into a message.
            const parsed = parseConnection(dataset.value)
            if (!parsed.ok) addIssue({ message: `cannot be used. ${parsed.message.replace(/\.$/, '')}` })
          }),
        ),
        '',
      ),
    }),
    {},
  ),
  limits: v.optional(
    v.strictObject({
      price_cap_msat_per_mib: v.optional(count('millisatoshi per MiB')),
      budget_sats_per_release: v.optional(count('sats', 1), 100_000),
      risk_sats_per_seller: v.optional(count('sats'), 100),
      risk_sats_unproven: v.optional(count('sats')),
      bytes_per_day: v.optional(count('bytes (0: no limit)'), 0),
      payment_timeout_seconds: v.optional(count('seconds', 1), 60),
      prefer: v.optional(choice(PREFERENCES), DEFAULT_PREFER),
      bytes_bought_per_release: v.optional(count('bytes (0: no limit)'), 0),
      payment_slots: v.optional(
        v.pipe(
          count('payments at a time', 1),
          v.maxValue(MAX_PAYMENT_SLOTS, `must be at most ${MAX_PAYMENT_SLOTS}: no channel carries more`),
        ),
        DEFAULT_PAYMENT_SLOTS,
      ),
    }),
    {},
  ),
  install: v.optional(
    v.strictObject({
      products: v.optional(list(text('a product’s name', 64), 64), []),
      health_command: optionalCommand,
      health_timeout_seconds: v.optional(count('seconds', 1), 60),
      command: optionalCommand,
      command_timeout_seconds: v.optional(count('seconds', 1), 900),
      rollback_command: optionalCommand,
      user: v.optional(v.pipe(v.string('must be a user’s name, in quotes'), v.maxLength(64)), ''),
      socket: v.optional(v.pipe(v.string('must be a path, in quotes'), v.maxLength(100)), ''),
    }),
    {},
  ),
  swarm: v.optional(
    v.strictObject({
      stun: v.optional(list(text('an address such as "stun:host:3478"', 300), 8), []),
      turn: v.optional(list(text('an address such as "turn:user:password@host:3478"', 500), 8), []),
      use_relay_ice_servers: v.optional(v.boolean('must be true or false'), true),
      use_relay_tracker: v.optional(v.boolean('must be true or false'), true),
      check_minutes: v.optional(count('minutes', 1), 5),
      upload_limit: v.optional(rate, 0),
      download_limit: v.optional(rate, 0),
      resell_msat_per_mib: v.optional(count('millisatoshi per MiB', 1)),
      mirror: v.optional(choice(MIRROR_USES), DEFAULT_MIRROR),
      mirror_url: v.optional(
        v.union([
          v.literal(''),
          url(['http:', 'https:'], 'an address such as "https://files.example/app.bin"'),
        ]),
        '',
      ),
    }),
    {},
  ),
})

export type DeviceConfig = Readonly<{
  file: string
  name: string
  hardware: string
  dataDir: string
  /** Where the page about this device is served. `undefined`: nowhere. */
  kiosk: KioskAddress | undefined
  vendor: VendorId
  /** Base URLs: mirror, configuration. */
  relays: readonly string[]
  /** Base URLs of static hosts with metadata and artifacts, tried after the relays. */
  mirrors: readonly string[]
  nostrRelays: readonly string[]
  trackers: readonly string[]
  identity: Identity
  /** Secret of the wallet connection that the vendor cuts, hex. */
  walletClient: string
  /** A secret. `undefined`: none yet. */
  walletConnection: string | undefined
  /** Per MiB. `undefined`: the release's cap holds alone. */
  priceCap: Msat | undefined
  budget: Msat
  riskBudget: Msat
  /** `undefined`: four pieces at the price cap. */
  unprovenBudget: Msat | undefined
  bytesPerDay: number | undefined
  lockedTimeoutMs: number
  products: readonly string[]
  health: Readonly<{ command: string; timeoutMs: number }> | undefined
  installCommand: Readonly<{ command: string; rollback: string | undefined; timeoutMs: number }> | undefined
  /** Who installs, where that is another user; only root can start one. */
  installUser: string | undefined
  /** Where an install step of its own listens. */
  installSocket: string | undefined
  iceServers: readonly Readonly<{ urls: string; username?: string; credential?: string }>[]
  useRelayIceServers: boolean
  useRelayTracker: boolean
  checkEveryMs: number
  trade: TradeConfig
}>

/** How a device buys, and whether it sells what it has. */
export type TradeConfig = Readonly<{
  prefer: Preference
  /** Bytes paid for, for one release. `Infinity`: no limit. */
  budgetBytes: number
  paymentSlots: number
  mirror: MirrorUse
  /** Where the artifact lies as a plain file; `{file}` in it stands for the artifact's file name. */
  mirrorUrl: string | undefined
  /** Bytes a second; `undefined`: no limit. */
  uploadBps: number | undefined
  downloadBps: number | undefined
  /** Asked per MiB for pieces that are proven here. `undefined`: nothing is sold. */
  resell: Msat | undefined
}>

/** @throws ConfigError */
export async function readConfig(file: string): Promise<DeviceConfig> {
  let source: string
  try {
    source = await readFile(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      throw new ConfigError(
        `There is no ${file}. Make one with: satpatch device init --join CODE`,
        undefined,
        { cause: error },
      )
    }
    throw new ConfigError(
      `${file} cannot be read (${errnoOf(error) ?? 'unknown reason'}). It must belong to the user who runs the device.`,
    )
  }
  return parseConfig(source, file)
}

/** @throws ConfigError */
export function parseConfig(source: string, file: string): DeviceConfig {
  let raw: unknown
  try {
    raw = parseToml(source)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // TomlError's own message quotes the lines around, which may hold a secret.
    const what = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '') ?? 'not TOML'
    throw new ConfigError(`${file}, line ${error.line}: ${what}. Texts stand in quotes, lists in brackets.`)
  }
  const parsed = v.safeParse(schema, raw)
  if (!parsed.success) throw issueError(parsed.issues[0], file)
  return toConfig(parsed.output, file)
}

function issueError(issue: v.BaseIssue<unknown>, file: string): ConfigError {
  const path = (issue.path ?? []).map((item) => String(item.key))
  const key = path.join('.')
  if (issue.type === 'strict_object' && issue.expected === 'never') {
    const parent = path.slice(0, -1)
    const near = didYouMean(path.at(-1) ?? '', knownKeys(parent))
    return new ConfigError(`${file}: "${key}" is not a setting.${near || ' Remove the line.'}`, key)
  }
  if (issue.received === 'undefined') {
    return new ConfigError(
      `${file}: "${key}" is missing. Add it, or make a new file with "satpatch device init".`,
      key,
    )
  }
  return new ConfigError(`${file}: "${key}" ${issue.message}.`, key)
}

function knownKeys(parent: readonly string[]): string[] {
  let at: unknown = schema
  for (const part of parent) {
    at = (at as { entries?: Record<string, unknown> }).entries?.[part]
    if (typeof at === 'object' && at !== null && 'wrapped' in at) at = at.wrapped
  }
  return Object.keys((at as { entries?: Record<string, unknown> } | undefined)?.entries ?? {})
}

/** `turn:user:password@host:3478` apart, as WebRTC wants it. */
export function iceServer(address: string): { urls: string; username?: string; credential?: string } {
  const match = /^(turns?):([^:@]+):([^@]+)@(.+)$/.exec(address)
  if (!match) return { urls: address }
  return { urls: `${match[1]}:${match[4]}`, username: match[2]!, credential: match[3]! }
}

const sats = (amount: number): Msat => (amount * 1000) as Msat

function toConfig(raw: v.InferOutput<typeof schema>, file: string): DeviceConfig {
  const secretKey = fromHex(raw.keys.device)
  const key: PartyKey = publicKey(secretKey)
  const { limits, install, swarm } = raw
  if (install.socket !== '' && (install.command !== '' || install.health_command !== '')) {
    const text = `${file}: commands are the install step’s: set them in its own file, not beside "install.socket".`
    throw new ConfigError(text, 'install.socket')
  }
  return {
    file,
    name: raw.name,
    hardware: raw.hardware,
    dataDir: resolve(dirname(file), raw.data_dir),
    kiosk: kioskAddress(raw.kiosk),
    vendor: raw.vendor.root as VendorId,
    relays: raw.vendor.relays,
    mirrors: raw.vendor.mirrors,
    nostrRelays: raw.vendor.nostr_relays,
    trackers: raw.vendor.trackers,
    identity: { key, secret: secretKey },
    walletClient: raw.keys.wallet_client,
    walletConnection: raw.wallet.connection === '' ? undefined : raw.wallet.connection,
    priceCap: limits.price_cap_msat_per_mib as Msat | undefined,
    budget: sats(limits.budget_sats_per_release),
    riskBudget: sats(limits.risk_sats_per_seller),
    unprovenBudget: limits.risk_sats_unproven === undefined ? undefined : sats(limits.risk_sats_unproven),
    bytesPerDay: limits.bytes_per_day === 0 ? undefined : limits.bytes_per_day,
    lockedTimeoutMs: limits.payment_timeout_seconds * 1000,
    products: install.products,
    health:
      install.health_command === ''
        ? undefined
        : { command: install.health_command, timeoutMs: install.health_timeout_seconds * 1000 },
    installCommand:
      install.command === ''
        ? undefined
        : {
            command: install.command,
            rollback: install.rollback_command === '' ? undefined : install.rollback_command,
            timeoutMs: install.command_timeout_seconds * 1000,
          },
    installUser: install.user === '' ? undefined : install.user,
    installSocket: install.socket === '' ? undefined : resolve(dirname(file), install.socket),
    iceServers: [...swarm.stun, ...swarm.turn].map(iceServer),
    useRelayIceServers: swarm.use_relay_ice_servers,
    useRelayTracker: swarm.use_relay_tracker,
    checkEveryMs: swarm.check_minutes * 60_000,
    trade: {
      prefer: limits.prefer,
      budgetBytes:
        limits.bytes_bought_per_release === 0 ? DEFAULT_BUDGET_BYTES : limits.bytes_bought_per_release,
      paymentSlots: limits.payment_slots,
      mirror: swarm.mirror,
      mirrorUrl: swarm.mirror_url === '' ? undefined : swarm.mirror_url,
      uploadBps: swarm.upload_limit === 0 ? undefined : swarm.upload_limit,
      downloadBps: swarm.download_limit === 0 ? undefined : swarm.download_limit,
      resell: swarm.resell_msat_per_mib as Msat | undefined,
    },
  }
}
