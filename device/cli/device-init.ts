/** `satpatch device init`: makes device.toml with fresh keys, and joins a fleet with a code. */
import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import { access, readFile, rename } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isHex32, sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import { decodeJoinCode, deviceCode, relayBaseUrl, type JoinCode } from '../../web/core/rollout/join.ts'
import { createPool } from '../../web/edge/nostr/pool.ts'
import { fetchRelayConfig, RelayConfigError } from '../../web/edge/relay-config.ts'
import { fetchBounded } from '../../web/edge/release/http.ts'
import { metadataUrl } from '../../web/edge/release/mirror.ts'
import { readConfig, type DeviceConfig } from '../config/config.ts'
import { deviceToml } from '../config/template.ts'
import { writeJoinState } from '../run/join-state.ts'
import { awaitAcceptance, keepAcceptance } from '../run/joining.ts'
import { boundText, readRecord, recordFile } from '../run/record.ts'
import { MAX_TIMER_MS } from '../run/timer.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type ExitCode, type Input } from './command.ts'
import { walletInput } from './secret-input.ts'
import { UNIT_SOCKET, unitCommands, unitFiles } from './units.ts'

const DEFAULT_TIMEOUT_S = 900
const MAX_ROOT_BYTES = 512 * 1024

export const deviceInitCommand: Command = {
  verb: 'device init',
  summary: 'Makes device.toml with fresh keys; with --join, joins a vendor’s fleet.',
  about: `
With --join CODE (from the vendor's page, "Add a device") one line does it all: the device asks to join, shows its own
code, waits until the vendor accepts it, and writes down the wallet connection that it is given. If it is interrupted,
"satpatch device run" goes on waiting. Without a code: --vendor, --relay and --hardware.`,
  flags: {
    join: { value: 'CODE', help: 'join code of the vendor’s page' },
    config: { value: 'FILE', help: 'the file to make (default device.toml)' },
    data: { value: 'DIR', help: 'data directory, relative to the file (default data)' },
    name: { value: 'NAME', help: 'name in the vendor’s list (default: the host’s)' },
    hardware: { value: 'ID', help: 'what releases must be made for (default "generic")' },
    vendor: { value: 'ID', help: 'the vendor’s id, without a join code' },
    relay: { value: 'URL', help: 'a relay of the vendor’s; may be repeated', many: true },
    'wallet-file': { value: 'FILE', help: 'file with a wallet connection of your own (or SATPATCH_WALLET)' },
    product: { value: 'NAME', help: 'take this product only; may be repeated', many: true },
    health: { value: 'COMMAND', help: 'health command' },
    'price-cap': { value: 'MSAT_PER_MIB', help: 'highest price (default: the release’s own cap)' },
    timeout: { value: 'SECONDS', help: `how long to wait for the vendor (default ${DEFAULT_TIMEOUT_S})` },
    'no-wait': { help: 'do not wait for the vendor: "device run" does' },
    systemd: {
      value: 'DIR',
      help: 'two users: units and the install step’s settings go into DIR, which root owns',
    },
    reset: { help: 'unbind the device: new keys; the old files are kept beside' },
  },
  async run(input) {
    const { flags } = input
    const file = resolve(flags.text('config') ?? 'device.toml')
    const join_ = joinCode(flags.text('join'))
    const vendor = join_?.vendor ?? vendorId(flags.text('vendor'))
    const relays =
      join_ === undefined
        ? flags.texts('relay').map(relayUrl)
        : [join_.relay, ...flags.texts('relay').map(relayUrl)]
    if (relays.length === 0) throw usage('Without --join a device needs --vendor and --relay.')

    let config = flags.has('reset') ? undefined : await existing(file)
    if (config !== undefined) {
      if (config.vendor !== vendor)
        throw new CliError(EXIT.refused, boundText(config.dataDir, config.vendor, vendor))
      if (join_ === undefined)
        throw new CliError(EXIT.refused, `${file} is there already. Edit it, or begin anew with --reset.`)
      input.log.info('this device keeps the keys that it has')
    }
    const wallet = await walletInput(flags)
    await checkRoot(relays[0] ?? '', vendor)
    if (flags.has('reset')) await setAside(file)
    config ??= await make(input, file, vendor, relays, wallet)
    if (join_ === undefined) {
      out(
        input,
        config,
        'ready',
        `${file} is made. Start the device with: satpatch device run --config ${file}`,
      )
      return EXIT.ok
    }
    return joinFleet(input, config, join_)
  },
}

async function joinFleet(input: Input, config: DeviceConfig, code: JoinCode): Promise<ExitCode> {
  const { flags, log } = input
  const state = { v: 1, secret: code.secret, nostr: code.nostr, relay: code.relay, acceptedAt: null } as const
  await makeDirectory(config.dataDir)
  await writeJoinState(config.dataDir, state)
  const shown = deviceCode(config.identity.key)
  if (!input.json) {
    input.out('')
    input.out(`    ${shown.split('').join(' ')}`)
    input.out('')
    input.out(
      `This is the device's code (${shown}). Compare it with the one on the vendor's page and accept it there.`,
    )
  }
  if (flags.has('no-wait')) {
    out(input, config, 'waiting', 'Start "satpatch device run": it waits for the vendor.')
    return EXIT.ok
  }
  const network = await relayConfig(code.relay)
  const pool = createPool([network.nostrUrl])
  const timeoutS = flags.count('timeout') ?? DEFAULT_TIMEOUT_S
  const stopper = new AbortController()
  const timer = setTimeout(() => stopper.abort(), Math.min(timeoutS * 1000, MAX_TIMER_MS))
  void stopSignal().then(() => stopper.abort())
  try {
    const accept = await awaitAcceptance({
      config,
      state,
      pool,
      nowMs: Date.now,
      signal: stopper.signal,
      onTrouble: (text) => log.warn(text),
    })
    const connection = await keepAcceptance(config, state, accept, Date.now())
    const wallet =
      connection === undefined
        ? ' It has no allowance yet: the vendor can give one later, or set wallet.connection in the file.'
        : ' It has a wallet.'
    out(
      input,
      config,
      'accepted',
      `${accept.name} is accepted.${wallet} Start it with: satpatch device run --config ${config.file}`,
    )
    return EXIT.ok
  } catch (error) {
    if (!stopper.signal.aborted) throw error
    const text = 'Not accepted yet. "satpatch device run" goes on waiting; nothing is lost.'
    out(input, config, 'waiting', text, { code: 'timeout', message: text })
    return EXIT.waiting
  } finally {
    clearTimeout(timer)
    pool.close()
  }
}

function out(
  input: Input,
  config: DeviceConfig,
  state: string,
  text: string,
  error?: { code: string; message: string },
): void {
  const { key } = config.identity
  const code = deviceCode(key)
  if (input.json)
    input.out(JSON.stringify({ state, key, code, config: config.file, dataDir: config.dataDir, error }))
  else input.out(text)
}

function joinCode(text: string | undefined): JoinCode | undefined {
  if (text === undefined) return undefined
  const result = decodeJoinCode(text)
  if (result.tag === 'refused') throw usage(result.message)
  return result.code
}

function vendorId(text: string | undefined): VendorId {
  if (text === undefined) throw usage('A device needs a vendor: --join CODE, or --vendor ID and --relay URL.')
  if (!isHex32(text)) throw usage('--vendor must be a vendor’s id: 64 characters 0-9 and a-f.')
  return text as VendorId
}

function relayUrl(text: string): string {
  const url = relayBaseUrl(text)
  if (url === undefined)
    throw usage(`--relay must be an address such as https://relay.example, not "${text.slice(0, 80)}".`)
  return url
}

async function existing(file: string): Promise<DeviceConfig | undefined> {
  try {
    await access(file)
  } catch {
    return undefined
  }
  return readConfig(file)
}

async function relayConfig(relay: string) {
  try {
    return await fetchRelayConfig(relay)
  } catch (error) {
    if (error instanceof RelayConfigError) throw new CliError(EXIT.failure, error.message)
    throw error
  }
}

/** The relay must have the very root that the id names: a typo or another vendor is told now, not at the first release. */
async function checkRoot(relay: string, vendor: VendorId): Promise<void> {
  const result = await fetchBounded(fetch, metadataUrl(relay, vendor, '1.root.json'), {
    maxBytes: MAX_ROOT_BYTES,
  })
  if (result.tag === 'failed') {
    throw new CliError(
      EXIT.failure,
      `The relay at ${relay} does not answer (${result.text}). Check the address; nothing was changed.`,
    )
  }
  if (result.tag === 'ok' && result.status === 404) {
    throw new CliError(
      EXIT.refused,
      `The relay at ${relay} does not know this vendor. Ask the vendor for a new code.`,
    )
  }
  if (result.tag !== 'ok' || result.status !== 200 || sha256Hex(result.bytes) !== vendor) {
    throw new CliError(
      EXIT.refused,
      `What ${relay} shows is not this vendor’s first root. Ask the vendor for a new code; nothing was changed.`,
    )
  }
}

async function make(
  input: Input,
  file: string,
  vendor: VendorId,
  relays: readonly string[],
  wallet: string | undefined,
): Promise<DeviceConfig> {
  const { flags } = input
  const dataDir = flags.text('data') ?? 'data'
  const bound = await readRecord(resolve(dirname(file), dataDir))
  if (bound !== undefined && bound.vendor !== vendor) {
    throw new CliError(EXIT.refused, boundText(resolve(dirname(file), dataDir), bound.vendor, vendor))
  }
  const secret = (): string => randomBytes(32).toString('hex')
  const systemd = flags.text('systemd')
  const source = deviceToml({
    name: flags.text('name') ?? hostname().slice(0, 80),
    hardware: flags.text('hardware') ?? 'generic',
    dataDir,
    vendor,
    relays: [...new Set(relays)],
    trackers: [],
    deviceSecret: secret(),
    walletClientSecret: secret(),
    walletConnection: wallet ?? '',
    products: flags.texts('product'),
    // With two users the commands are the install step's.
    healthCommand: systemd === undefined ? (flags.text('health') ?? '') : '',
    ...(systemd === undefined ? {} : { installSocket: UNIT_SOCKET }),
    priceCapMsat: flags.count('price-cap'),
  })
  await makeDirectory(dirname(file))
  await writeDurably(file, source)
  const config = await readConfig(file)
  if (systemd !== undefined) await makeUnits(input, config, resolve(systemd))
  return config
}

/** @throws CliError where the network process's user could write what the install step goes by */
async function makeUnits({ flags, log }: Input, config: DeviceConfig, directory: string): Promise<void> {
  const home = dirname(config.file)
  if (!relative(home, directory).startsWith('..'))
    throw usage(`--systemd needs a directory that is root's, not one below ${home}: /etc/satpatch, say.`)
  const { vendor, hardware, products, dataDir } = config
  const units = {
    directory,
    node: process.execPath,
    program: fileURLToPath(new URL('../start.ts', import.meta.url)),
    configFile: config.file,
    home,
    settings: {
      vendor,
      hardware,
      products: [...products],
      data_dir: dataDir,
      health_command: flags.text('health') ?? '',
    },
  }
  await makeDirectory(directory)
  for (const [name, text] of Object.entries(unitFiles(units)))
    await writeDurably(join(directory, name), text, 0o644)
  log.info(`units for two users are in ${directory}. Then, as root: ${unitCommands(units).join(' && ')}`)
}

/** The old configuration and record stay beside the new ones: they hold keys, and keys may hold money. */
async function setAside(file: string): Promise<void> {
  const stamp = new Date().toISOString().replaceAll(/[:.]/g, '-')
  const aside = async (path: string): Promise<void> => {
    await rename(path, join(dirname(path), `${basename(path)}.${stamp}.old`)).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    })
  }
  const source = await readFile(file, 'utf8').catch(() => undefined)
  const dataDir = source === undefined ? undefined : /^data_dir\s*=\s*"([^"]+)"/m.exec(source)?.[1]
  await aside(file)
  if (dataDir === undefined) return
  const at = resolve(dirname(file), dataDir)
  await aside(recordFile(at))
  // The install step has a record of its own, bound to the vendor too.
  for (const name of ['join.json', 'metadata', 'install', 'refused.json']) await aside(join(at, name))
}
