/** The demo's command line. */
import path from 'node:path'
import { parseArgs } from 'node:util'

export type Flags = Readonly<{
  once: boolean
  json: boolean
  file: string | undefined
  devices: number
  distributors: number
  priceMsat: number
  port: number
  dataDir: string
  keep: boolean
  /** Real Lightning on a regtest chain instead of play money. */
  lnd: boolean
  /** With it: what a node between the two takes of each payment, msat. */
  hopMsat: number | undefined
}>

export const HELP = `npm run demo [-- OPTIONS]

Starts a relay, distributors and devices on this machine, ships one real file to the devices for play
sats, shows it live, and stays up so that you can drop a file of your own.

  --once               end after the first release: exit 0 only if every device installed the very bytes,
                       every receipt checks and the sums agree
  --json               print one JSON object at the end and nothing else (implies no live view)
  --file PATH          ship this file (default: an archive of some 28 MB made on the spot)
  --devices N          1 to 50, default 3
  --distributors N     0 to 20, default 2
  --price MSAT         what the sellers ask, millisatoshi per MiB, default 1000
  --port P             the relay's port, default 8787; 0 takes a free one
  --data DIR           keep the data there (default: .data/demo, made anew each time)
  --lnd                real Lightning payments: two LND nodes on a regtest chain of this machine (needs Go, builds them
                       once, some ten minutes). A window costs a sat at least
  --hop MSAT           with --lnd: a third node between the two routes each payment and takes so much, and 0.1 %
  --help

Exit codes: 0 all is well, 1 something was not as it should be, 2 wrong usage.
`

const PRICE = '1000'

/** Wrong usage; the message says what to write. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** `cwd`: where the person stood, for relative paths. @throws UsageError */
export function parseFlags(args: readonly string[], root: string, cwd: string): Flags | 'help' {
  let values
  try {
    ;({ values } = parseArgs({
      args: [...args],
      options: {
        once: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        file: { type: 'string' },
        devices: { type: 'string', default: '3' },
        distributors: { type: 'string', default: '2' },
        price: { type: 'string' },
        lnd: { type: 'boolean', default: false },
        hop: { type: 'string' },
        port: { type: 'string', default: '8787' },
        data: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }))
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)} (npm run demo -- --help)`)
  }
  if (values.help) return 'help'
  if (values.hop !== undefined && !values.lnd) throw new UsageError('--hop belongs to --lnd.')
  return {
    once: values.once,
    json: values.json,
    file: values.file === undefined ? undefined : path.resolve(cwd, values.file),
    devices: whole('--devices', values.devices, 1, 50),
    distributors: whole('--distributors', values.distributors, 0, 20),
    priceMsat: whole('--price', values.price ?? PRICE, 0, 1_000_000_000),
    lnd: values.lnd,
    hopMsat: values.hop === undefined ? undefined : whole('--hop', values.hop, 0, 100_000),
    port: whole('--port', values.port, 0, 65_535),
    dataDir: values.data === undefined ? path.join(root, '.data', 'demo') : path.resolve(cwd, values.data),
    keep: values.data !== undefined,
  }
}

function whole(flag: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw new UsageError(`${flag} takes a whole number from ${least} to ${most}, not "${text}".`)
}
