/** `satpatch verify-receipts FILE`: checks a device's receipts offline, against what the vendor signed. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import * as v from 'valibot'
import { parsePartyKey, type PartyKey } from '../../web/core/bytes.ts'
import { verifyReceipt } from '../../web/core/exchange/quote.ts'
import type { Release } from '../../web/core/release/target.ts'
import { receiptsBlobSchema } from '../../web/core/rollout/messages.ts'
import { receiptsRoot } from '../../web/core/rollout/report.ts'
import { receiptsFileSchema } from '../run/receipts.ts'
import { storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'
import { findSigned, releaseFlags } from './signed-release.ts'

const MAX_LISTED = 20

export const verifyReceiptsCommand: Command = {
  verb: 'verify-receipts',
  summary:
    'Checks each receipt of a file: signature, preimage, release, price; counts what was paid to whom.',
  about: `
FILE is a device's own (receipts/… in its data directory) or the decrypted blob of a report. Each receipt is checked
against the release that the vendor signed: root, layout, price cap, the seller's signature, the preimage. --release names
the data directory or a copy of a mirror's metadata, and need not be given for a device's own file; or give --targets and
--root. Without a signed release nothing is verified, and the exit code is 3.`,
  argument: { name: 'FILE', help: 'JSON file with receipts' },
  flags: {
    ...releaseFlags,
    path: { value: 'PATH', help: 'the release’s path product/version/file, where the file does not say' },
    device: { value: 'KEY', help: 'the device’s key, where the file does not say' },
  },
  async run({ argument, flags, json, out }) {
    const file = resolve(argument)
    const { receipts, release: claimed, vendor, device } = await readReceipts(file, flags)
    const signed = await findSigned(flags, file, {
      vendor,
      path: flags.text('path') ?? claimed?.path,
      infoHash: flags.has('path') ? undefined : claimed?.infoHash,
    })
    const release = signed?.release ?? claimed
    const moneys = new Set<string>()
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
      const { paymentHash, seller, amount, money } = check.quote
      if (seen.has(paymentHash)) {
        bad.push({ index: index + 1, why: 'its payment was counted before' })
        continue
      }
      seen.add(paymentHash)
      if (amount > 0) moneys.add(money)
      hashes.push(check.hash)
      paidMsat += amount
      sellers.set(seller, (sellers.get(seller) ?? 0) + amount)
    }
    const result = {
      ok: bad.length === 0 && moneys.size <= 1 && signed !== undefined && device !== undefined,
      receipts: receipts.length,
      valid: hashes.length,
      paidMsat,
      sellers: Object.fromEntries(sellers),
      receiptsRoot: receiptsRoot(hashes),
      release: release?.path ?? null,
      releaseSigned: signed !== undefined,
      signaturesChecked: signed?.signaturesChecked === true,
      vendorChecked: signed?.vendorChecked === true,
      money: [...moneys],
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
      if (moneys.size > 1) out(`They are in different money: ${[...moneys].join(', ')}.`)
      if (device === undefined) out('Whose they are is not checked: give --device.')
      if (signed === undefined)
        out('Not verified against the vendor’s word: give --release DIR, or --targets and --root.')
      else if (!signed.signaturesChecked) out('The signatures on targets.json were not checked: give --root.')
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
      vendor: own.output.vendor,
      device: device ?? own.output.device,
    }
  }
  const blob = v.safeParse(receiptsBlobSchema, raw)
  if (!blob.success) throw new CliError(EXIT.refused, `${path} holds no receipts that this version can read.`)
  return { receipts: blob.output.receipts, release: undefined, vendor: undefined, device }
}
