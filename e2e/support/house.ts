/** The processes of a whole installation on this machine: relay, distributors, devices. Demo and journeys use it. */
import fs from 'node:fs'
import path from 'node:path'
import * as v from 'valibot'
import type { PartyKey } from '../../web/core/bytes.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import type { Vendor } from '../../web/edge/vendor/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { readConfig } from '../../device/config/config.ts'
import { createPrograms, until, type Program, type Programs } from './processes.ts'

const START_TIMEOUT_MS = 30_000
const JOIN_TIMEOUT_MS = 45_000

const startedSchema = v.object({ url: v.string(), port: v.number(), admissionLink: v.optional(v.string()) })

export type RelayHandle = {
  readonly dataDir: string
  readonly url: string
  readonly port: number
  /** The one-time code of the admission link; undefined once a vendor has been admitted. */
  readonly admission: string | undefined
  program: Program
}

export type DistributorHandle = {
  readonly name: string
  readonly key: PartyKey
  readonly dataDir: string
  /** A second connection to its wallet, to read the ledger with. */
  readonly wallet: Wallet
  readonly start: () => Program
  program: Program
}

export type DeviceHandle = {
  readonly name: string
  readonly key: PartyKey
  readonly dataDir: string
  readonly configFile: string
  readonly wallet: Wallet
  readonly start: () => Program
  program: Program | undefined
}

export type HouseOptions = Readonly<{
  dir: string
  /** 0 takes a free one. */
  port: number
  /** Play sats of a new account, and how many accounts this machine may open. */
  grantSats: number
  accounts: number
  handoverFile?: string
  /** Real Lightning: the relay's wallets, which buy, on one node, and those that sell on another's service. */
  lightning?: Readonly<{ buyers: readonly string[]; sellers: readonly string[] }>
}>

export interface House {
  readonly dir: string
  readonly programs: Programs
  readonly relay: RelayHandle
  /** With real Lightning: the connection of the node's owner, which funds devices. */
  readonly ownerConnection?: string
  /** A new account that sells: of the relay, or of the other node's service. */
  openTill(name: string): Promise<string>
  /** Starts the relay's process again on its port and data. */
  restartRelay(): Promise<void>
  /** `extra` follows the command's own arguments. */
  distributor(name: string, price: Msat, extra?: readonly string[]): Promise<DistributorHandle>
  /** Joins through `vendor`, which funds it with `fundMsat`; not running yet. */
  device(name: string, grant: DeviceGrant): Promise<DeviceHandle>
  stop(): Promise<void>
}

export type DeviceGrant = Readonly<{
  vendor: Vendor
  vendorWallet: Wallet
  hardware: string
  fundMsat: Msat
  /** Changes to the written device.toml, before the device runs. */
  edit?: (toml: string) => string
}>

/** Where a device keeps the installed file. */
export const installedFile = (device: DeviceHandle, product: string, fileName: string): string =>
  path.join(device.dataDir, 'products', product, 'current', fileName)

/** Starts a relay in `dir`; the others come one by one. */
export async function openHouse(options: HouseOptions): Promise<House> {
  const { dir } = options
  fs.mkdirSync(dir, { recursive: true })
  const programs = createPrograms(path.join(dir, 'logs'))
  const wallets: Wallet[] = []
  const { lightning } = options

  async function startRelay(name: string, port: number, extra: readonly string[]): Promise<RelayHandle> {
    const relayDir = path.join(dir, name)
    const args = ['relay', '--json', '--port', String(port), '--data', relayDir, ...extra]
    args.push('--grant', String(options.grantSats), '--accounts', String(options.accounts))
    const program = programs.satpatch(name, args)
    const { url, admissionLink, ...rest } = await program.line('its address', START_TIMEOUT_MS, (line) => {
      const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), startedSchema), line)
      return parsed.success ? parsed.output : undefined
    })
    const admission = admissionLink && new URL(admissionLink).hash.slice('#admit='.length)
    return { dataDir: relayDir, program, url, port: rest.port, admission }
  }

  async function openWallet(connection: string): Promise<Wallet> {
    const wallet = await connectNwc(connection)
    wallets.push(wallet)
    return wallet
  }

  const own = [
    ...(lightning?.buyers ?? []),
    ...(options.handoverFile === undefined ? [] : ['--handover', options.handoverFile]),
  ]
  const relay = await startRelay('relay', options.port, own)
  // A node cannot pay itself: who sells has an account with another one.
  const till = lightning && (await startRelay('till', 0, lightning.sellers))
  const openTill = async (name: string): Promise<string> =>
    (await openPlayAccount((till ?? relay).url, { name })).connection
  const ownerFile = path.join(relay.dataDir, 'owner-wallet.txt')
  return {
    dir,
    programs,
    relay,
    ...(lightning && { ownerConnection: fs.readFileSync(ownerFile, 'utf8').trim() }),
    openTill,
    async restartRelay() {
      relay.program = (await startRelay('relay', relay.port, own)).program
    },

    async distributor(name, price, extra = []) {
      const dataDir = path.join(dir, name)
      fs.mkdirSync(dataDir, { recursive: true })
      const connection = await openTill(name)
      const walletFile = path.join(dataDir, 'wallet.txt')
      fs.writeFileSync(walletFile, connection, { mode: 0o600 })
      const args = ['distributor', 'run', '--relay', relay.url, '--data', dataDir]
      args.push('--price', String(price), '--wallet-file', walletFile, ...extra)
      const start = (): Program => programs.satpatch(name, args)
      const program = start()
      const key = await program.line('its key', START_TIMEOUT_MS, keyIn)
      return { name, key, dataDir, wallet: await openWallet(connection), start, program }
    },

    async device(name, grant) {
      const dataDir = path.join(dir, name)
      const configFile = path.join(dataDir, 'device.toml')
      fs.mkdirSync(dataDir, { recursive: true })
      const code = await grant.vendor.makeJoinCode()
      const args = ['device', 'init', '--join', code, '--config', configFile]
      args.push('--name', name, '--hardware', grant.hardware)
      const joining = programs.satpatch(`${name}-init`, args)
      const request = await until(
        `${name}'s request to join`,
        JOIN_TIMEOUT_MS,
        () => grant.vendor.joinRequests.get().find((one) => one.name === name && one.invited),
        () => joining.tail(),
      )
      await grant.vendor.accept(request.id, { name, fundMsat: grant.fundMsat, wallet: grant.vendorWallet })
      const connection = await until(
        `${name}'s wallet connection`,
        JOIN_TIMEOUT_MS,
        async () => (await readConfig(configFile).catch(() => undefined))?.walletConnection,
        () => joining.tail(),
      )
      await joining.exited
      if (grant.edit) fs.writeFileSync(configFile, grant.edit(fs.readFileSync(configFile, 'utf8')))
      const config = await readConfig(configFile)
      return {
        name,
        key: config.identity.key,
        dataDir: config.dataDir,
        configFile,
        wallet: await openWallet(connection),
        start: () => programs.satpatch(name, ['device', 'run', '--config', configFile]),
        program: undefined,
      }
    },

    async stop() {
      for (const wallet of wallets) wallet.close()
      await programs.stopAll()
    },
  }
}

function keyIn(line: string): PartyKey | undefined {
  const found = /"key":"([0-9a-f]{64})"|\bkey:? ([0-9a-f]{64})\b/.exec(line)
  return (found?.[1] ?? found?.[2]) as PartyKey | undefined
}
