/** `satpatch relay`, which is also `npm start`. */
import { resolve } from 'node:path'
import type { LndSettings } from '../../relay/lightning.ts'
import type { RunningRelay } from '../../relay/relay.ts'
import { iceServer } from '../config/config.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type Flags } from './command.ts'

const DEFAULT_PORT = 8787
const DEFAULT_GRANT_SATS = 100_000
const DEFAULT_ACCOUNTS = 20

export const relayCommand: Command = {
  verb: 'relay',
  summary: 'The relay: pages, tracker, Nostr relay, play-money wallets and release mirror on one port.',
  about: `
Prints a one-time link that admits the first vendor. Browsers give keys, storage and offline use to localhost and to
https only: for any other address give --tls-cert and --tls-key, or put a proxy before it and give --public-url.
Stops cleanly on SIGTERM and SIGINT.
With --lnd the wallets hold sats of your LND: the connection of your own account is written to owner-wallet.txt in the data
directory, cut allowances from it. The same settings may come as SATPATCH_LND, SATPATCH_LND_MACAROON and SATPATCH_LND_CERT.`,
  flags: {
    port: { value: 'PORT', help: `port (default ${DEFAULT_PORT}; 0 takes a free one)` },
    host: { value: 'ADDRESS', help: 'address to listen on (default: all)' },
    data: { value: 'DIR', help: 'data directory (default .data/relay)' },
    'tls-cert': { value: 'FILE', help: 'certificate chain, PEM' },
    'tls-key': { value: 'FILE', help: 'its key, PEM' },
    'public-url': { value: 'URL', help: 'how others reach it, behind a proxy' },
    stun: {
      value: 'HOST:PORT',
      help: 'STUN server for all roles; may be repeated (default: none)',
      many: true,
    },
    turn: { value: 'USER:PASS@HOST:PORT', help: 'TURN server for all roles; may be repeated', many: true },
    grant: { value: 'SATS', help: `play sats of a new account (default ${DEFAULT_GRANT_SATS})` },
    accounts: {
      value: 'N',
      help: `play-money accounts an address may open a day (default ${DEFAULT_ACCOUNTS})`,
    },
    'fee-ppm': { value: 'N', help: 'routing fee of play money, millionths of each payment (default 0)' },
    lnd: {
      value: 'URL',
      help: 'REST address of your LND (https://host:8080): real sats instead of play money',
    },
    'lnd-macaroon': { value: 'FILE', help: 'its macaroon, a file or in hex' },
    'lnd-cert': { value: 'FILE', help: 'its tls.cert' },
    'lnd-own': {
      value: 'SATS',
      help: "of the node's sats, what the owner's account (owner-wallet.txt) has been given in all",
    },
    'admit-further': { help: 'print a link for one more vendor' },
    handover: { value: 'FILE', help: 'an encrypted backup for the first browser that knows its code' },
    web: { value: 'DIR', help: 'the built pages (default dist/web)' },
  },
  async run({ flags, json, log, out }) {
    const tls = tlsOf(flags.text('tls-cert'), flags.text('tls-key'))
    const lnd = lndOf(flags)
    const port = flags.count('port') ?? DEFAULT_PORT
    if (port > 65_535) throw usage('--port must be at most 65535.')
    const { startRelay, StartError } = await import('../../relay/relay.ts')
    const stopped = stopSignal()
    const optional = {
      ...setting('host', flags.text('host')),
      ...setting('publicUrl', flags.text('public-url')),
      ...setting('webDir', flags.text('web')),
      ...setting('handoverFile', flags.text('handover')),
      ...setting('tls', tls),
      ...setting('lnd', lnd),
    }
    let relay: RunningRelay
    try {
      relay = await startRelay({
        ...optional,
        port,
        dataDir: resolve(flags.text('data') ?? '.data/relay'),
        iceServers: [
          ...flags.texts('stun').map((at) => iceServer(withScheme('stun', at))),
          ...flags.texts('turn').map((at) => iceServer(withScheme('turn', at))),
        ],
        log: log.child({ part: 'relay' }),
        openAccounts: {
          grantMsat: (flags.count('grant') ?? DEFAULT_GRANT_SATS) * 1000,
          // A node's owner gives out its accounts; strangers open none, unless wanted.
          perAddress: flags.count('accounts') ?? (lnd ? 0 : DEFAULT_ACCOUNTS),
        },
        ...setting('feePpm', flags.count('fee-ppm')),
        ...(flags.has('admit-further') ? { admitFurther: true } : {}),
      })
    } catch (error) {
      if (error instanceof StartError)
        throw new CliError(error.code === 'bad-setting' ? EXIT.usage : EXIT.failure, error.message)
      throw error
    }
    const { url, admissionLink, relayKey, lightning } = relay
    const optionally = { ...setting('admissionLink', admissionLink), ...setting('lightning', lightning) }
    if (json) out(JSON.stringify({ url, port: relay.port, relayKey, ...optionally }))
    else {
      if (admissionLink !== undefined)
        out(`To become this relay's vendor, open this link once: ${admissionLink}`)
      if (lightning)
        out(
          `Real Lightning (${lightning.network}), node ${lightning.alias}. Your account: ${lightning.ownerFile}`,
        )
      out(`The relay runs at ${url}. Distributors go to ${url}/seed.`)
    }
    log.info({ signal: await stopped }, 'stopping')
    await relay.stop()
    return EXIT.ok
  },
}

const setting = <K extends string, T>(name: K, value: T | undefined): { [key in K]?: T } =>
  (value === undefined ? {} : { [name]: value }) as { [key in K]?: T }

const withScheme = (scheme: string, address: string): string =>
  /^(stuns?|turns?):/.test(address) ? address : `${scheme}:${address}`

/** Flags before the environment, each by itself. */
function lndOf(flags: Flags): LndSettings | undefined {
  const of = (flag: string, name: string): string | undefined => flags.text(flag) ?? process.env[name]
  const url = of('lnd', 'SATPATCH_LND')
  const macaroon = of('lnd-macaroon', 'SATPATCH_LND_MACAROON')
  const cert = of('lnd-cert', 'SATPATCH_LND_CERT')
  const own = flags.count('lnd-own')
  if (url === undefined) {
    if (flags.has('lnd-macaroon') || flags.has('lnd-cert') || own !== undefined)
      throw usage('--lnd-macaroon, --lnd-cert and --lnd-own go with --lnd.')
    return undefined
  }
  if (macaroon === undefined) throw usage('--lnd needs --lnd-macaroon.')
  return {
    url,
    macaroon,
    ...(cert !== undefined && { certFile: resolve(cert) }),
    ...(own !== undefined && { ownerMsat: own * 1000 }),
  }
}

function tlsOf(certFile: string | undefined, keyFile: string | undefined) {
  if (certFile === undefined && keyFile === undefined) return undefined
  if (certFile === undefined || keyFile === undefined) throw usage('--tls-cert and --tls-key go together.')
  return { certFile: resolve(certFile), keyFile: resolve(keyFile) }
}
