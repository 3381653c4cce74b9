/**
 * `npm run demo`: a relay, distributors and devices as processes of their own, the vendor in this one; one
 * real file goes all the way and is judged. Then it stays up for files that a person drops.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { sha256Hex, utf8 } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { ReleaseView } from '../../web/core/rollout/fleet.ts'
import type { Release } from '../../web/core/release/target.ts'
import { generateSecrets, serializeSecrets } from '../../web/edge/vendor/keys-file.ts'
import { openHouse } from '../support/house.ts'
import { ProgramError, until } from '../support/processes.ts'
import { root } from '../support/run.ts'
import { openVendor, random, type VendorHost } from '../support/vendor-host.ts'
import { startLightning } from './lightning.ts'
import { HELP, parseFlags, UsageError, type Flags } from './flags.ts'
import { chosenFile, makeArchive, type Material } from './material.ts'
import { openBooks, viewOf, type Books } from './outcome.ts'
import { demandPort, freshDir, furnish, HARDWARE, type Stage } from './stage.ts'
import type { Verdict } from './verdict.ts'
import { LEAST_COLUMNS, liveScreen, megabytes, plainScreen, sats, table, type Screen } from './view.ts'

const VERSION = '1.0.0'
/** Sats of a new play-money account here: enough for any file that a person would try. */
const GRANT_SATS = 10_000_000
/** How long a release may take: a while, and as long as a slow disk under many processes needs. */
const PATIENCE_MS = 180_000
const SLOWEST_BPS = 500_000
const LOG_LINES = 15

type Say = (line: string) => void

async function main(flags: Flags): Promise<number> {
  const say: Say = (line) => void (flags.json ? process.stderr : process.stdout).write(`${line}\n`)
  const chosen = flags.file === undefined ? undefined : chosenFile(flags.file)
  await demandPort(flags.port)
  const dir = freshDir(flags)
  const material = chosen ?? makeArchive(path.join(root, 'node_modules'), dir)

  const secrets = generateSecrets(random)
  const code = randomBytes(16).toString('base64url')
  const handoverFile = path.join(dir, 'handover.json')
  const handover = { codeHash: sha256Hex(utf8(code)), backup: await serializeSecrets(secrets, code) }
  fs.writeFileSync(handoverFile, JSON.stringify(handover), { mode: 0o600 })

  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      // Asked twice, it waits for nobody: what ends this process ends its children.
      if (stop.signal.aborted) process.exit(130)
      process.stderr.write('\nStopping every process…\n')
      stop.abort()
    })
  const lightning = flags.lnd ? await startLightning(dir, flags.hopMsat, say) : undefined
  say(`Starting a relay, ${flags.distributors} distributors and ${flags.devices} devices…`)
  const house = await openHouse({
    dir,
    port: flags.port,
    grantSats: GRANT_SATS,
    accounts: flags.distributors + 50,
    handoverFile,
    ...(lightning && { lightning }),
  }).catch(async (error: unknown) => {
    await lightning?.stop()
    throw error
  })
  const vendorLog = fs.createWriteStream(path.join(dir, 'logs', 'vendor.log'))
  let host: VendorHost | undefined
  try {
    if (house.relay.admission === undefined)
      throw new ProgramError(`The relay printed no link that admits a vendor.\n${house.relay.program.tail()}`)
    host = await openVendor({
      relayUrl: house.relay.url,
      admission: house.relay.admission,
      name: 'Demo vendor',
      secrets,
      dataDir: path.join(dir, 'vendor'),
      price: msat(flags.priceMsat),
      gifts: flags.distributors + 10,
      log: (event, detail) =>
        void vendorLog.write(`${JSON.stringify({ at: Date.now(), event, ...detail })}\n`),
      ...(house.ownerConnection !== undefined && {
        wallets: { funds: house.ownerConnection, till: await house.openTill('vendor') },
      }),
    })
    const stage = await furnish(house, host, flags, material.bytes)
    const live = !flags.json && process.stdout.isTTY && (process.stdout.columns || 100) >= LEAST_COLUMNS
    const screen = live ? liveScreen(process.stdout, stage.nameOf) : plainScreen(say, stage.nameOf)
    const endFollow = follow(host, screen)
    try {
      const books = await openBooks({
        host,
        relayUrl: house.relay.url,
        devices: stage.devices,
        distributors: stage.distributors,
        funded: stage.refills.paid,
        htlcs: lightning?.htlcs,
      })
      const verdict = await firstRelease({ stage, books, flags, material, say: screen.say }, stop.signal)
      if (flags.json) process.stdout.write(`${JSON.stringify(forMachines(verdict))}\n`)
      else screen.say(summary(stage, verdict))
      for (const problem of verdict.problems) process.stderr.write(`✗ ${problem}\n`)
      if (!flags.once) {
        screen.say(invitation(house.relay.url, code))
        await new Promise<void>((resolve) => {
          if (stop.signal.aborted) resolve()
          stop.signal.addEventListener('abort', () => resolve(), { once: true })
        })
      }
      return verdict.ok ? 0 : 1
    } finally {
      endFollow()
      stage.refills.stop()
    }
  } finally {
    await host?.close().catch(() => undefined)
    await house.stop()
    await lightning?.stop()
    vendorLog.end()
  }
}

/** Shows the newest release whenever something about it changes. */
function follow(host: VendorHost, screen: Screen): () => void {
  return host.vendor.fleet.subscribe(({ releases }) => {
    const newest = releases[0]
    if (newest) screen.show(newest)
  })
}

type First = Readonly<{ stage: Stage; books: Books; flags: Flags; material: Material; say: Say }>

async function firstRelease(
  { stage, books, flags, material, say }: First,
  signal: AbortSignal,
): Promise<Verdict> {
  const { host } = stage
  say(`Publishing ${material.name}, ${megabytes(material.bytes)}…`)
  const { release, seed } = await host.ship(material.file, {
    product: productOf(material.name),
    version: VERSION,
    hardware: [HARDWARE],
    notes: 'Shipped by the demo.',
    priceCapMsat: msat(Math.max(flags.priceMsat, 1)),
  })
  await allHealthy(stage, release, signal)

  return books.balanced(release, seed, signal)
}

/** Until every device is healthy and has reported; a device that ends otherwise is the judge's to tell. */
async function allHealthy(stage: Stage, release: Release, signal: AbortSignal): Promise<void> {
  const { host, devices } = stage
  const patienceMs = PATIENCE_MS + (release.bytes * devices.length * 1000) / SLOWEST_BPS
  const rows = () => viewOf(host, release)?.devices ?? []
  const done = (): boolean =>
    rows().filter(
      (row) =>
        (row.state === 'healthy' && row.verdict?.tag === 'accepted') ||
        row.state === 'failed' ||
        row.state === 'rolled back' ||
        row.verdict?.tag === 'refused',
    ).length === devices.length
  const waiting = (): string =>
    devices
      .flatMap((device) => {
        const row = rows().find((one) => one.device === device.key)
        if (row?.state === 'healthy' && row.verdict?.tag === 'accepted') return []
        const where = row ? `${row.state}, ${row.havePieces} of ${row.pieces} pieces` : 'never heard of'
        const why = row?.reason ?? (row?.state === 'healthy' ? 'its report is not here or not checked' : '')
        return [`${device.name}: ${where}${why && `, ${why}`}\n${device.program?.tail(LOG_LINES) ?? ''}`]
      })
      .join('\n\n')
  await until(
    'every device to be healthy',
    patienceMs,
    () => (signal.aborted || done() ? true : undefined),
    waiting,
  )
  if (signal.aborted) throw new ProgramError('Stopped before every device was healthy.')
}

/** A product's name as releases want it, from a file's name. */
function productOf(fileName: string): string {
  const plain = path
    .parse(fileName)
    .name.toLowerCase()
    .normalize('NFKD')
    .replaceAll(/\p{M}+/gu, '')
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
  return plain.slice(0, 64) || 'demo'
}

function forMachines(verdict: Verdict): Omit<Verdict, 'problems'> & { problems?: readonly string[] } {
  const { problems, ...rest } = verdict
  return problems.length === 0 ? rest : { ...rest, problems }
}

function summary(stage: Stage, verdict: Verdict): string {
  const { nameOf } = stage
  const devices = table(
    ['device', 'state', 'SHA-256', 'seconds', 'sats', 'fees', 'receipts', 'sellers'],
    verdict.devices.map((device) => [
      nameOf(device.id),
      device.state,
      `${device.sha256.slice(0, 16)}…`,
      device.seconds.toFixed(1),
      sats(device.paidMsat),
      sats(device.feesMsat),
      String(device.receipts),
      Object.entries(device.sellers)
        .toSorted(([, a], [, b]) => b - a)
        .map(([seller, paid]) => `${nameOf(seller)} ${sats(paid)}`)
        .join(', '),
    ]),
  )
  const sellers = table(
    ['seller', 'sats earned', 'uploaded'],
    verdict.sellers.map((seller) => [
      nameOf(seller.id),
      sats(seller.earnedMsat),
      megabytes(seller.uploadedBytes),
    ]),
  )
  const writes = (viewOfPath(stage)?.devices ?? []).flatMap(({ report }) => report?.writeFactor ?? [])
  const factor =
    writes.length > 0
      ? `Devices wrote at most ${Math.max(...writes).toFixed(2)} bytes to disk for each byte of the file.\n`
      : ''
  const { release, lightning } = verdict
  const nodes =
    lightning &&
    `Lightning: both nodes have settled ${lightning.payments} payments of ${sats(lightning.amountMsat)} sats, and ${sats(lightning.feesMsat)} of fees.\n`
  return [
    `\n${release.name} ${release.version}, ${megabytes(release.bytes)}, SHA-256 ${release.sha256}\n`,
    devices,
    '',
    sellers,
    '',
    `${nodes ?? ''}${factor}${verdict.ok ? '✓ Every device has these bytes, every receipt checks, the sums agree.' : '✗ Not everything is as it should be:'}`,
  ].join('\n')
}

const viewOfPath = ({ host }: Stage): ReleaseView | undefined => host.vendor.fleet.get().releases.at(-1)

const invitation = (url: string, code: string): string => `
Now you. This address gives your browser the demo vendor’s keys, once:

  ${url}/vendor#keys=${code}

Drop a file there: the same devices install it. Seed it yourself at ${url}/seed
Ctrl-C stops everything.
`

const cwd = process.env['INIT_CWD'] ?? process.cwd()
try {
  const flags = parseFlags(process.argv.slice(2), root, cwd)
  if (flags === 'help') process.stdout.write(HELP)
  else process.exitCode = await main(flags)
} catch (error) {
  const known = error instanceof UsageError || error instanceof ProgramError
  process.stderr.write(
    `\n${known ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  )
  process.exitCode = error instanceof UsageError ? 2 : 1
}
