/** `satpatch publish FILE`: signs a release with the vendor's key file and seeds it until others have it. */
import { DEFAULT_UNPAID_BYTES, DEFAULT_UNPROVEN_BYTES } from '../../web/core/exchange/desk-policy.ts'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { VendorId } from '../../web/core/bytes.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { Release } from '../../web/core/release/target.ts'
import { signLink } from '../../web/core/release/sign-link.ts'
import { VendorError, type NewRelease, type ReleaseForm, type Vendor } from '../../web/edge/vendor/api.ts'
import { MAX_TIMER_MS } from '../run/timer.ts'
import { openCompleteStore, openSource } from '../storage/complete-store.ts'
import { cryptFile } from '../storage/crypt-file.ts'
import { writeDurably } from '../storage/durable.ts'
import { openJournal } from '../storage/journal.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type ExitCode, type Flags } from './command.ts'
import { keyFlags, keysFileOf, newKeyFile, openKeySource } from './keys-source.ts'
import { walletInput } from './secret-input.ts'
import { openVendor, relayUrlOf, vendorFlags, type OpenVendor } from './vendor-session.ts'

const DEFAULT_COPIES = 2
const DEFAULT_PRICE_CAP = 10_000
const DEFAULT_PRICE = 1000
const DEFAULT_GIFTS = 3

export const publishCommand: Command = {
  verb: 'publish',
  summary: 'Signs FILE as a release, announces it, and seeds it until others have full copies.',
  about: `
The key file is the encrypted backup that the vendor's page saves, or one made here with --new-keys. Its passphrase
comes from --passphrase-file or SATPATCH_PASSPHRASE. With --sign-with another program signs: it gets the canonical
bytes of the metadata on stdin. Where several must sign, the link for the others is printed; seeding begins
once they have. A vendor that is new to the relay needs --admit with the code of the link that "satpatch relay" printed.`,
  argument: { name: 'FILE', help: 'the artifact: one file of any type' },
  flags: {
    product: { value: 'NAME', help: 'product: a-z 0-9 . _ -' },
    release: { value: 'VERSION', help: 'version, such as 1.4.0; newer than what is out' },
    hardware: { value: 'ID', help: 'hardware that may install it; may be repeated', many: true },
    notes: { value: 'TEXT', help: 'release notes' },
    'upgrades-from': { value: 'VERSION', help: 'lowest installed version that may take it' },
    installer: {
      value: 'NAME',
      help: 'what an install command must understand, such as rauc; the two slots do not take it',
    },
    confidential: { help: 'encrypt it: only devices that are enrolled now can read it' },
    'encrypted-copy': {
      value: 'FILE',
      help: 'with --confidential: also write the encrypted file there, for "satpatch export --artifact"',
    },
    'price-cap': { value: 'MSAT_PER_MIB', help: `most that devices may pay (default ${DEFAULT_PRICE_CAP})` },
    mirror: {
      value: 'URL',
      help: 'static host that devices may try ("satpatch export"); replaces those named before',
      many: true,
    },
    ...keyFlags,
    ...vendorFlags,
    'new-keys': { help: 'make the key file when it is missing' },
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
  async run(input) {
    const { argument, flags, json, log, out } = input
    const file = resolve(argument)
    const form = formOf(flags, basename(file))
    if (flags.has('encrypted-copy') && !flags.has('confidential'))
      throw usage('--encrypted-copy goes with --confidential.')
    const copies = flags.count('seed-until') ?? DEFAULT_COPIES
    relayUrlOf(flags)
    if (flags.has('new-keys') && !(await exists(keysFileOf(flags)))) await newKeyFile(flags, log)
    const keySource = await openKeySource(
      flags,
      log,
      'Save the backup of the vendor’s page there, or make new keys with --new-keys.',
    )
    const stopped = stopSignal()
    const source = await openSource(file)
    let reopen = false
    try {
      const dataDir = join(dirname(keySource.file), 'publish')
      let code = await openVendor(input, keySource, dataDir, publish)
      if (reopen) code = await openVendor(input, keySource, dataDir, publish)
      return code
    } catch (error) {
      if (error instanceof Error && error.name === 'EmptyArtifactError')
        throw new CliError(EXIT.refused, error.message)
      throw error
    } finally {
      await source.close()
    }

    async function publish({ vendor, pool, config, relayUrl, dataDir }: OpenVendor): Promise<ExitCode> {
      const [{ hashArtifact }, { hashConfidential, newArtifactKey }] = await Promise.all([
        import('../../web/edge/swarm/hash-artifact.ts'),
        import('../../web/edge/confidential/artifact.ts'),
      ])
      await ready(vendor, flags)
      const signing = vendor.signing.get()
      const nostr = keySource.keys.nostr.key
      if (signing) await keySource.settle(signing)
      // A new Nostr key has come into force since: the vendor is opened anew with it.
      reopen = keySource.keys.nostr.key !== nostr
      if (reopen) return EXIT.ok
      const { keys } = keySource
      const refusal = vendor.check(form, source.length)
      if (refusal !== undefined) throw refusal
      if (flags.has('mirror')) await vendor.setMirrors(flags.texts('mirror'))
      const onProgress = (done: number, of: number): void => {
        if (done === of || done % 64 === 0) log.info({ done, of }, 'hashing')
      }
      const trackers = [config.trackerUrl]
      const hashed: Hashed = flags.has('confidential')
        ? await hashConfidential(source, form.fileName, trackers, newArtifactKey(), onProgress)
        : await hashArtifact(source, form.fileName, trackers, onProgress)
      const key = hashed.confidential?.key
      const copy = flags.text('encrypted-copy')
      if (copy !== undefined && key) await cryptFile(file, resolve(copy), key)
      const published = await vendor.publish([{ ...hashed, form }]).catch((error: unknown) => {
        if (error instanceof VendorError && error.proposal) return error
        throw error
      })
      const timeoutS = flags.count('timeout')
      const late = new Promise<'late'>((done) => {
        if (timeoutS !== undefined)
          setTimeout(() => done('late'), Math.min(timeoutS * 1000, MAX_TIMER_MS)).unref()
      })
      const release = published instanceof VendorError ? await cosigned(published) : published[0]
      if (release === 'waiting') return EXIT.waiting
      if (release === undefined) throw new CliError(EXIT.failure, 'Nothing was published. Try again.')
      if (json) out(JSON.stringify({ release, vendor: vendorOf(vendor) }))
      else
        out(
          `${release.product} ${release.version} is out: ${release.bytes} bytes, SHA-256 ${release.sha256}` +
            (key ? ', encrypted for the devices that are enrolled.' : '.'),
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
          connection = (await openPlayAccount(relayUrl, { name: 'vendor' })).connection
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
          release: release as Release,
          meta: hashed.meta,
          store: await openCompleteStore(file, hashed.meta.pieces, key),
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

      /** Tells the link, and waits for the others' signatures if this process is to seed. */
      async function cosigned({ proposal }: VendorError): Promise<Release | 'waiting'> {
        const of = vendorOf(vendor)
        const link = of && proposal ? signLink({ vendor: of, id: proposal }, relayUrl) : ''
        out(
          json ? JSON.stringify({ published: false, link }) : `Signed; it waits for more signatures: ${link}`,
        )
        if (copies === 0) return 'waiting'
        let end: () => void = () => undefined
        const signed = new Promise<Release>((done) => {
          end = vendor.releases.subscribe((all) => {
            const found = all.find(
              ({ release: one }) => one.sha256 === hashed.sha256 && one.version === form.version,
            )
            if (found) done(found.release)
          })
        })
        const ended = await Promise.race([signed, late, stopped])
        end()
        return typeof ended === 'string' ? 'waiting' : ended
      }
    }
  },
}

type Hashed = Omit<NewRelease, 'form'>

function formOf(flags: Flags, fileName: string): ReleaseForm {
  const product = flags.text('product')
  const version = flags.text('release')
  const hardware = flags.texts('hardware')
  if (product === undefined || version === undefined || hardware.length === 0) {
    throw usage('A release needs --product NAME, --release VERSION and --hardware ID.')
  }
  const notes = flags.text('notes')
  const upgradesFrom = flags.text('upgrades-from')
  const installer = flags.text('installer')
  return {
    product,
    version,
    fileName,
    hardware,
    priceCapMsat: msat(flags.count('price-cap') ?? DEFAULT_PRICE_CAP),
    ...(notes === undefined ? {} : { notes }),
    ...(upgradesFrom === undefined ? {} : { upgradesFrom }),
    ...(installer === undefined ? {} : { installer }),
  }
}

const exists = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  )

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

function vendorOf(vendor: Vendor): VendorId | undefined {
  const status = vendor.status.get()
  return status.tag === 'ready' ? status.vendor : undefined
}
