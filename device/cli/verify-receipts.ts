/** `satpatch verify-receipts FILE`: checks a device's receipts offline, against what the vendor signed. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import * as v from 'valibot'
import { isHex32, parsePartyKey, sha256Hex, type PartyKey } from '../../web/core/bytes.ts'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import { readTargets } from '../../web/core/release/announce.ts'
import { readRoot } from '../../web/core/release/repository.ts'
import type { Release } from '../../web/core/release/target.ts'
import { parseEnvelope, verifyRole } from '../../web/core/release/tuf.ts'
import { receiptsBlobSchema } from '../../web/core/rollout/messages.ts'
import { receiptsRoot } from '../../web/core/rollout/report.ts'
import { receiptsFileSchema } from '../run/receipts.ts'
import { storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'

const MAX_LISTED = 20

export const verifyReceiptsCommand: Command = {
  verb: 'verify-receipts',
  summary:
    'Checks each receipt of a file: signature, preimage, release, price; counts what was paid to whom.',
  about: `
FILE is a device's own (receipts/… in its data directory) or the decrypted blob of a report. With --targets (the
vendor's targets.json) each receipt is checked against the release that the vendor signed, and with --root (the root.json
of the same time) so are the signatures on it. --vendor checks that the root is the first one of that vendor.`,
  argument: { name: 'FILE', help: 'JSON file with receipts' },
  flags: {
    targets: { value: 'FILE', help: 'the vendor’s signed targets.json' },
    root: { value: 'FILE', help: 'the root.json that names the targets’ keys' },
    vendor: { value: 'ID', help: 'the vendor’s id: SHA-256 of its first root.json' },
    path: { value: 'PATH', help: 'the release’s path product/version/file, where the file does not say' },
    device: { value: 'KEY', help: 'the device’s key, where the file does not say' },
  },
  async run({ argument, flags, json, out }) {
    const { receipts, release: claimed, device } = await readReceipts(resolve(argument), flags)
    const signed = await signedRelease(flags, flags.text('path') ?? claimed?.path)
    const release = signed ?? claimed
    const sellers = new Map<PartyKey, number>()
    const seen = new Set<string>()
    const bad: { index: number; why: string }[] = []
    const hashes = []
    let paidMsat = 0
    for (const [index, receipt] of receipts.entries()) {
      const check =
        release === undefined || device === undefined
          ? verifyReceipt(receipt)
          : verifyReceipt(receipt, {
              root: release.piecesRoot,
              shape: { length: release.bytes, pieceLength: release.pieceLength },
              cap: release.priceCapMsat,
              buyer: device,
            })
      if (!check.ok) {
        bad.push({ index: index + 1, why: check.why })
        continue
      }
      const { paymentHash, seller, amount } = check.quote
      if (seen.has(paymentHash)) {
        bad.push({ index: index + 1, why: 'its payment was counted before' })
        continue
      }
      seen.add(paymentHash)
      hashes.push(check.hash)
      paidMsat += amount
      sellers.set(seller, (sellers.get(seller) ?? 0) + amount)
    }
    const result = {
      ok: bad.length === 0,
      receipts: receipts.length,
      valid: hashes.length,
      paidMsat,
      sellers: Object.fromEntries(sellers),
      receiptsRoot: receiptsRoot(hashes),
      release: release?.path ?? null,
      releaseSigned: signed !== undefined,
      signaturesChecked: signed !== undefined && flags.has('root'),
      bad: bad.slice(0, MAX_LISTED),
    }
    if (json) out(JSON.stringify(result))
    else {
      out(
        `${result.valid} of ${result.receipts} receipts are valid; ${paidMsat / 1000} sats to ${sellers.size} sellers.`,
      )
      for (const [seller, amount] of sellers) out(`  ${seller}  ${amount / 1000} sats`)
      for (const { index, why } of result.bad) out(`  receipt ${index}: ${why}`)
      if (bad.length > MAX_LISTED) out(`  … and ${bad.length - MAX_LISTED} more`)
      if (signed === undefined)
        out(
          'The release is the one that the file names: give --targets to check it against the vendor’s word.',
        )
      else if (!flags.has('root')) out('The signatures on targets.json were not checked: give --root.')
    }
    return result.ok ? EXIT.ok : EXIT.refused
  },
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw storageError(error, path)
  }
}

async function readReceipts(path: string, flags: Flags) {
  let raw: unknown
  try {
    raw = JSON.parse((await read(path)).toString('utf8'))
  } catch (error) {
    if (error instanceof SyntaxError) throw new CliError(EXIT.refused, `${path} is not JSON.`)
    throw error
  }
  const asked = flags.text('device')
  const device = asked === undefined ? undefined : parsePartyKey(asked)
  if (asked !== undefined && device === undefined)
    throw usage('--device must be a key: 64 characters 0-9 and a-f.')
  const own = v.safeParse(receiptsFileSchema, raw)
  if (own.success) {
    return {
      receipts: own.output.receipts,
      release: own.output.release as Release,
      device: device ?? own.output.device,
    }
  }
  const blob = v.safeParse(receiptsBlobSchema, raw)
  if (!blob.success) throw new CliError(EXIT.refused, `${path} holds no receipts that this version can read.`)
  return { receipts: blob.output.receipts, release: undefined, device }
}

/** The release as the vendor signed it, when `--targets` is given. */
async function signedRelease(flags: Flags, path: string | undefined): Promise<Release | undefined> {
  const file = flags.text('targets')
  if (file === undefined) {
    if (flags.has('root')) throw usage('--root needs --targets.')
    return undefined
  }
  const targets = parseEnvelope('targets', await read(resolve(file)))
  if (targets.tag === 'refused') throw new CliError(EXIT.refused, `${file}: ${targets.refusal.text}`)
  const rootFile = flags.text('root')
  if (rootFile !== undefined) {
    const bytes = await read(resolve(rootFile))
    const vendor = flags.text('vendor')
    if (vendor !== undefined && !isHex32(vendor))
      throw usage('--vendor must be a vendor’s id: 64 characters 0-9 and a-f.')
    if (vendor !== undefined && sha256Hex(bytes) !== vendor) {
      throw new CliError(EXIT.refused, `${rootFile} is not the first root of this vendor.`)
    }
    const root = readRoot(bytes)
    if (root.tag === 'refused') throw new CliError(EXIT.refused, `${rootFile}: ${root.refusal.text}`)
    const verdict = verifyRole(root.value.signed, targets.value)
    if (verdict.tag === 'refused') throw new CliError(EXIT.refused, `${file}: ${verdict.refusal.text}`)
  }
  const { releases } = readTargets(targets.value.signed)
  const release =
    path === undefined && releases.length === 1 ? releases[0] : releases.find((one) => one.path === path)
  if (release === undefined) {
    throw new CliError(EXIT.refused, `${file} has no release ${path ?? '(say which with --path)'}.`)
  }
  return release
}
