/** The words and numbers of buying and selling, in `device.toml` and as flags of `satpatch device run`. */
import { msat } from '../../web/core/money/msat.ts'
import { MAX_PAYMENT_SLOTS } from '../../web/core/swarm/buyer-policy.ts'
import type { Flags } from '../cli/command.ts'
import { usage } from '../cli/command.ts'
import type { TradeConfig } from './config.ts'

export const PREFERENCES = ['cheapest', 'balanced', 'fastest'] as const
export const MIRROR_USES = ['never', 'fallback', 'always'] as const

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 1000, M: 1_000_000, G: 1_000_000_000 }

/** `500000`, `500K`, `2M`, `1.5M`: bytes a second. `undefined` for anything else. */
export function parseRate(text: string): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,3})?) ?([KMG]?)(?:B\/s)?$/i.exec(text.trim())
  const unit = UNITS[match?.[2]?.toUpperCase() ?? '']
  const bytes = Math.round(Number(match?.[1]) * (unit ?? Number.NaN))
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

export const tradeFlags = {
  prefer: { value: 'POLICY', help: 'cheapest, balanced or fastest (default balanced)' },
  'budget-bytes': { value: 'BYTES', help: 'most bytes paid for, for one release (0: no limit)' },
  'payment-slots': {
    value: 'N',
    help: `payments under way at a time, 1 to ${MAX_PAYMENT_SLOTS} (default 64)`,
  },
  'upload-limit': { value: 'BYTES_PER_S', help: 'such as 500K or 2M (0: no limit)' },
  'download-limit': { value: 'BYTES_PER_S', help: 'such as 500K or 2M (0: no limit)' },
  mirror: { value: 'USE', help: 'a plain HTTP mirror: never, fallback or always (default fallback)' },
  'mirror-url': { value: 'URL', help: 'where the artifact lies as a file; {file} stands for its name' },
  resell: { value: 'MSAT_PER_MIB', help: 'sell proven pieces to other devices, at this price' },
} as const

/** @throws CliError */
export function rateFlag(flags: Flags, name: string): number | undefined {
  const text = flags.text(name)
  if (text === undefined) return undefined
  const bps = parseRate(text)
  if (bps === undefined) throw usage(`--${name} must be bytes a second, such as 500000, 500K or 2M.`)
  return bps
}

/** What the command line says stands above the file. @throws CliError */
export function withTradeFlags(config: TradeConfig, flags: Flags): TradeConfig {
  const word = <T extends string>(name: string, words: readonly T[]): T | undefined => {
    const given = flags.text(name)
    const known = words.find((one) => one === given)
    if (given !== undefined && known === undefined) throw usage(`--${name} must be ${words.join(' or ')}.`)
    return known
  }
  const slots = flags.count('payment-slots')
  if (slots !== undefined && (slots < 1 || slots > MAX_PAYMENT_SLOTS))
    throw usage(`--payment-slots must be from 1 to ${MAX_PAYMENT_SLOTS}: no channel carries more.`)
  const mirrorUrl = flags.text('mirror-url')
  if (mirrorUrl !== undefined && !/^https?:\/\//.test(mirrorUrl))
    throw usage('--mirror-url must be an address such as https://files.example/app.bin.')
  const resell = flags.count('resell')
  if (resell === 0) throw usage('--resell must be a price above 0: a device gives nothing away.')
  const bytes = flags.count('budget-bytes')
  const limit = (name: string, kept: number | undefined): number | undefined => {
    const bps = rateFlag(flags, name)
    return bps === undefined ? kept : bps === 0 ? undefined : bps
  }
  return {
    prefer: word('prefer', PREFERENCES) ?? config.prefer,
    budgetBytes: bytes === undefined ? config.budgetBytes : bytes === 0 ? Number.POSITIVE_INFINITY : bytes,
    paymentSlots: slots ?? config.paymentSlots,
    mirror: word('mirror', MIRROR_USES) ?? config.mirror,
    mirrorUrl: mirrorUrl ?? config.mirrorUrl,
    uploadBps: limit('upload-limit', config.uploadBps),
    downloadBps: limit('download-limit', config.downloadBps),
    resell: resell === undefined ? config.resell : msat(resell),
  }
}
