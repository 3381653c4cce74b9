/** `satpatch publish FILE`: signs a release with the vendor's key file and seeds it until others have it. */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk.ts'
import { webcrypto } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Bytes } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import { relayBaseUrl } from '../../web/core/rollout/join.ts'
import { fetchRelayConfig, RelayConfigError, type RelayConfig } from '../../web/edge/relay-config.ts'
import { VendorError, type ReleaseForm, type Vendor, type VendorKeys } from '../../web/edge/vendor/api.ts'
import {
  generateSecrets,
  KeysError,
  keysFromSecrets,
  parseSecrets,
  serializeSecrets,
} from '../../web/edge/vendor/keys-file.ts'
import { asEventLog, type Logger } from '../log.ts'
import { lockDirectory } from '../run/lock.ts'
import { openCompleteStore, openSource } from '../storage/complete-store.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { openJournal } from '../storage/journal.ts'
import { openTextStore } from '../storage/text-store.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type ExitCode, type Flags } from './command.ts'
import { isExposed, passphraseInput, walletInput } from './secret-input.ts'

const DEFAULT_COPIES = 2
const DEFAULT_PRICE_CAP = 10_000
const DEFAULT_PRICE = 1000
const DEFAULT_GIFTS = 3
/** What strangers may owe at once. */

export const publishCommand: Command = {
  verb: 'publish',
  summary: 'Signs FILE as a release, announces it, and seeds it until others have full copies.',
  about: `
The key file is the encrypted backup that the vendor's page saves, or one made here with --new-keys. Its passphrase
comes from --passphrase-file or SATPATCH_PASSPHRASE. A vendor that is new to the relay needs --admit with the code of
the link that "satpatch relay" printed.`,
  argument: { name: 'FILE', help: 'the artifact: one file of any type' },
  flags: {
    product: { value: 'NAME', help: 'product: a-z 0-9 . _ -' },
    release: { value: 'VERSION', help: 'version, such as 1.4.0; newer than what is out' },
    hardware: { value: 'ID', help: 'hardware that may install it; may be repeated', many: true },
    notes: { value: 'TEXT', help: 'release notes' },
    'upgrades-from': { value: 'VERSION', help: 'lowest installed version that may take it' },
    'price-cap': { value: 'MSAT_PER_MIB', help: `most that devices may pay (default ${DEFAULT_PRICE_CAP})` },
    relay: { value: 'URL', help: 'the relay (default http://localhost:8787)' },
    keys: { value: 'FILE', help: 'the vendor’s key file (default .data/vendor/keys.json)' },
    'new-keys': { help: 'make the key file when it is missing' },
    'passphrase-file': { value: 'FILE', help: 'file with its passphrase (or SATPATCH_PASSPHRASE)' },
    admit: { value: 'CODE', help: 'one-time code or link, for a vendor that is new to the relay' },
    'vendor-name': { value: 'NAME', help: 'the vendor’s name, with --admit' },
    price: { value: 'MSAT_PER_MIB', help: `own price while seeding (default ${DEFAULT_PRICE})` },
    gifts: { value: 'N', help: `distributors that get it free (default ${DEFAULT_GIFTS})` },
    'wallet-file': { value: 'FILE', help: 'wallet connection to sell with (or SATPATCH_WALLET)' },
    'seed-until': {
      value: 'N',
      help: `seed until N full copies are elsewhere (default ${DEFAULT_COPIES}; 0: do not seed)`,
    },
    timeout: { value: 'SECONDS', help: 'give up seeding after so long' },
  },
  async run({ argument, flags, json, log, out }) {
    const relayUrl = relayBaseUrl(flags.text('relay') ?? 'http://localhost:8787')
    if (relayUrl === undefined) throw usage('--relay must be an address such as https://relay.example.')
    const file = resolve(argument)
    const form = formOf(flags, basename(file))
    const copies = flags.count('seed-until') ?? DEFAULT_COPIES
    const keysFile = resolve(flags.text('keys') ?? '.data/vendor/keys.json')
    const keys = await loadKeys(keysFile, flags, log)
    const dataDir = join(dirname(keysFile), 'publish')
    await makeDirectory(dataDir)
    const unlock = await lockDirectory(dataDir)
    const stopped = stopSignal()
    const config = await relayConfig(relayUrl)
    const source = await openSource(file)
    try {
      return await publish()
    } catch (error) {
      if (error instanceof VendorError) throw new CliError(EXIT.refused, error.message, { cause: error })
      if (error instanceof Error && error.name === 'EmptyArtifactError')
        throw new CliError(EXIT.refused, error.message)
      throw error
    } finally {
      await source.close()
      await unlock()
    }

    async function publish(): Promise<ExitCode> {
      const [{ createPool }, { createVendor }, { hashArtifact }] = await Promise.all([
        import('../../web/edge/nostr/pool.ts'),
        import('../../web/edge/vendor/vendor.ts'),
        import('../../web/edge/swarm/hash-artifact.ts'),
      ])
      const pool = createPool([config.nostrUrl])
      const vendor = createVendor({
        keys,
        relayUrl: relayUrl as string,
        config,
        pool,
        store: openTextStore(join(dataDir, 'metadata')),
        nowMs: Date.now,
        random,
        fetch: globalThis.fetch,
        log: asEventLog(log.child({ part: 'vendor' })),
      })
      try {
        await ready(vendor, flags)
        const refusal = vendor.check(form, source.length)
        if (refusal !== undefined) throw refusal
        const hashed = await hashArtifact(source, form.fileName, [config.trackerUrl], (done, of) => {
          if (done === of || done % 64 === 0) log.info({ done, of }, 'hashing')
        })
        const [release] = await vendor.publish([{ ...hashed, form }])
        if (release === undefined) throw new CliError(EXIT.failure, 'Nothing was published. Try again.')
        if (json) out(JSON.stringify({ release, vendor: vendorOf(vendor) }))
        else
          out(
            `${release.product} ${release.version} is out: ${release.bytes} bytes, SHA-256 ${release.sha256}.`,
          )
        if (copies === 0) return EXIT.ok
        return await seed()

        async function seed(): Promise<ExitCode> {
          const [{ createSwarm }, { createShop }, { startSeed }, { connectNwc }, { openPlayAccount }] =
            await Promise.all([
              import('../../web/edge/swarm/swarm.ts'),
              import('../../web/edge/swarm/shop.ts'),
              import('../../web/edge/vendor/seed.ts'),
              import('../../web/edge/wallet/nwc.ts'),
              import('../../web/edge/release/api.ts'),
            ])
          let connection =
            (await walletInput(flags)) ??
            (await readFile(join(dataDir, 'wallet'), 'utf8').catch(() => undefined))
          if (connection === undefined && config.money.startsWith('sandbox:')) {
            connection = (await openPlayAccount(relayUrl as string, { name: 'vendor' })).connection
            await writeDurably(join(dataDir, 'wallet'), connection)
          }
          const wallet = connection === undefined ? undefined : await connectNwc(connection)
          const swarm = await createSwarm({
            identity: keys.nostr,
            role: 'vendor',
            iceServers: config.iceServers,
            trackers: [config.trackerUrl],
          })
          const running = await startSeed({
            vendor,
            keys,
            swarm,
            pool,
            release: release as NonNullable<typeof release>,
            meta: hashed.meta,
            store: await openCompleteStore(file, hashed.meta.pieces),
            journal: await openJournal(join(dataDir, 'journal')),
            ...(wallet === undefined ? {} : { wallet }),
            policy: {
              price: msat(flags.count('price') ?? DEFAULT_PRICE),
              gifts: { to: 'distributors', copies: flags.count('gifts') ?? DEFAULT_GIFTS },
              approved: [],
              unpaidBytes: DEFAULT_UNPAID_BYTES,
              unprovenBytes: DEFAULT_UNPROVEN_BYTES,
            },
            nowMs: Date.now,
            createShop,
          })
          let stopCopies: () => void = () => undefined
          const enough = new Promise<'enough'>((done) => {
            stopCopies = running.fullCopies.subscribe((n) => {
              log.info({ copies: n, wanted: copies }, `${n} full copies elsewhere`)
              if (n >= copies) done('enough')
            })
          })
          const timeoutS = flags.count('timeout')
          const late = new Promise<'late'>((done) => {
            if (timeoutS !== undefined) setTimeout(() => done('late'), timeoutS * 1000).unref()
          })
          const end = await Promise.race([enough, late, stopped])
          stopCopies()
          const reached = running.fullCopies.get()
          await running.stop()
          await swarm.close()
          wallet?.close()
          const text =
            end === 'enough'
              ? `${reached} full copies are elsewhere: this process may end.`
              : `Only ${reached} of ${copies} full copies are elsewhere. Seed again with the vendor's page, or publish from here later.`
          if (!json) out(text)
          else if (end !== 'enough')
            out(JSON.stringify({ error: { code: end === 'late' ? 'timeout' : 'stopped', message: text } }))
          return end === 'enough' ? EXIT.ok : EXIT.waiting
        }
      } finally {
        vendor.close()
        pool.close()
      }
    }
  },
}

const random = (length: number): Bytes => webcrypto.getRandomValues(new Uint8Array(length))

function formOf(flags: Flags, fileName: string): ReleaseForm {
  const product = flags.text('product')
  const version = flags.text('release')
  const hardware = flags.texts('hardware')
  if (product === undefined || version === undefined || hardware.length === 0) {
    throw usage('A release needs --product NAME, --release VERSION and --hardware ID.')
  }
  const notes = flags.text('notes')
  const upgradesFrom = flags.text('upgrades-from')
  return {
    product,
    version,
    fileName,
    hardware,
    priceCapMsat: msat(flags.count('price-cap') ?? DEFAULT_PRICE_CAP),
    ...(notes === undefined ? {} : { notes }),
    ...(upgradesFrom === undefined ? {} : { upgradesFrom }),
  }
}

async function loadKeys(file: string, flags: Flags, log: Logger): Promise<VendorKeys> {
  const passphrase = await passphraseInput(flags)
  try {
    const text = await readFile(file, 'utf8')
    if (await isExposed(file))
      log.warn(`others can read ${file}, which holds the vendor's keys: chmod 600 ${file}`)
    return keysFromSecrets(await parseSecrets(text, passphrase))
  } catch (error) {
    if (error instanceof KeysError) {
      const hint =
        error.code === 'needs-passphrase' ? ' Give it with --passphrase-file or SATPATCH_PASSPHRASE.' : ''
      throw new CliError(EXIT.refused, `${file}: ${error.message}${hint}`)
    }
    if (errnoOf(error) !== 'ENOENT') throw storageError(error, file)
  }
  if (!flags.has('new-keys')) {
    throw new CliError(
      EXIT.failure,
      `There is no ${file}. Save the backup of the vendor's page there, or make new keys with --new-keys.`,
    )
  }
  const secrets = generateSecrets(random)
  try {
    await makeDirectory(dirname(file))
    await writeDurably(file, await serializeSecrets(secrets, passphrase))
  } catch (error) {
    if (error instanceof KeysError) throw new CliError(EXIT.refused, error.message)
    throw error
  }
  log.warn(`new vendor keys are in ${file}: keep a copy of it elsewhere`)
  return keysFromSecrets(secrets)
}

async function relayConfig(relayUrl: string): Promise<RelayConfig> {
  try {
    return await fetchRelayConfig(relayUrl)
  } catch (error) {
    if (error instanceof RelayConfigError) throw new CliError(EXIT.failure, error.message)
    throw error
  }
}

async function ready(vendor: Vendor, flags: Flags): Promise<void> {
  await vendor.ready
  const code = flags.text('admit')?.replace(/^.*#admit=/, '')
  if (vendor.status.get().tag === 'not-admitted') {
    if (code === undefined) {
      throw new CliError(
        EXIT.refused,
        'The relay does not know this vendor. Give --admit with the code of the link that the relay printed.',
      )
    }
    await vendor.admit(code, flags.text('vendor-name') ?? 'vendor')
  }
  const status = vendor.status.get()
  if (status.tag === 'trouble') throw new CliError(EXIT.failure, status.text)
}

function vendorOf(vendor: Vendor): string | undefined {
  const status = vendor.status.get()
  return status.tag === 'ready' ? status.vendor : undefined
}
