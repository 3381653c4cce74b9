/** `satpatch verify-proof FILE`: checks a proof of fraud offline, against what the vendor signed. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { proofIn, readAccusation, type Accusation } from '../../web/core/exchange/accusation.ts'
import { checkProof, decodeProof, MAX_PROOF_BYTES, type FraudProof } from '../../web/core/exchange/fraud.ts'
import { readReceipt } from '../../web/core/exchange/quote.ts'
import { verifyEvent } from '../../web/core/nostr/event.ts'
import { releaseName } from '../../web/core/release/target.ts'
import { parseEvent } from '../../web/edge/nostr/wire.ts'
import { storageError } from '../storage/errors.ts'
import { CliError, EXIT, type Command } from './command.ts'
import { findSigned, releaseFlags } from './signed-release.ts'

const MAX_FILE_BYTES = 128 * 1024

/** What each refusal of `checkProof` means. */
const WHY: Readonly<Record<string, string>> = {
  receipt: 'the seller’s signature or the preimage does not fit the receipt',
  'nothing was paid': 'the window was a gift',
  'bought on credit': 'the window came in the clear and was owed for',
  'not of this release': 'the receipt is about another release',
  'not in the window': 'the block is not among those that were sold',
  'ciphertext path': 'the ciphertext is not what the seller signed',
  'release path': 'the release does not have this hash at that place',
  'block is genuine': 'the block that was sold is the release’s own: nobody cheated',
}

export const verifyProofCommand: Command = {
  verb: 'verify-proof',
  summary: 'Checks a proof of fraud: who sold whom a block that the vendor did not sign.',
  about: `
FILE is one of proofs/… in a device's data directory, a FRAUD_PROOF event of Nostr (JSON), or the bare proof. It is
checked against the release that the vendor signed: --release names the device's data directory or a copy of a mirror's
metadata, and need not be given for a file that lies in a data directory; or give --targets and --root.`,
  argument: { name: 'FILE', help: 'the proof' },
  flags: {
    ...releaseFlags,
    path: { value: 'PATH', help: 'the release’s path product/version/file, where the file does not say' },
  },
  async run({ argument, flags, json, out }) {
    const file = resolve(argument)
    const { accusation, proof } = await readProof(file)
    const receipt = readReceipt(proof.receipt)
    const signed = await findSigned(flags, file, {
      vendor: accusation?.vendor,
      infoHash: accusation?.infoHash,
      path: flags.text('path'),
    })
    if (signed === undefined)
      throw new CliError(
        EXIT.usage,
        'A proof says nothing without the signed release: give --release DIR, or --targets and --root.',
      )
    const { release, signaturesChecked, vendorChecked } = signed
    const shape = { length: release.bytes, pieceLength: release.pieceLength }
    const check = checkProof(proof, { root: release.piecesRoot, shape })
    const forged = accusation !== undefined && !verifyEvent(accusation.event)
    const other = check.ok && accusation !== undefined && accusation.accused !== check.seller
    const why = forged
      ? 'the event is not signed by its author'
      : other
        ? 'it accuses another key than the one that signed the receipt'
        : check.ok
          ? undefined
          : WHY[check.why]
    const quote = receipt?.quote
    const result = {
      ok: why === undefined,
      ...(why === undefined ? {} : { why }),
      release: release.path,
      signaturesChecked,
      vendorChecked,
      seller: quote?.seller ?? null,
      buyer: quote?.buyer ?? null,
      author: accusation?.event.pubkey ?? null,
      piece: proof.piece,
      block: proof.block,
      paidMsat: quote?.amount ?? null,
      money: quote?.money ?? null,
    }
    if (json) out(JSON.stringify(result))
    else if (why === undefined && quote !== undefined) {
      out(
        `Proven: ${quote.seller} cheated ${quote.buyer}. It sold, in a window of ${quote.pieces.length} pieces for ${quote.amount / 1000} sats (${quote.money}), ` +
          `block ${proof.block} of piece ${proof.piece} of ${releaseName(release)} with other bytes than the vendor signed.`,
      )
    } else out(`Not proven: ${why}. Nobody is convicted by this file.`)
    if (!json && !signaturesChecked) out('The signatures on targets.json were not checked: give --root.')
    return result.ok ? EXIT.ok : EXIT.refused
  },
}

async function readProof(file: string): Promise<{ accusation?: Accusation; proof: FraudProof }> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    throw storageError(error, file)
  }
  if (bytes.length > MAX_FILE_BYTES)
    throw new CliError(EXIT.refused, `${file} is too large for a proof of fraud.`)
  if (bytes[0] === 0x7b /* { */) {
    const event = parseEvent(jsonOf(bytes))
    const accusation = event && readAccusation(event)
    const proof = accusation && proofIn(accusation.event)
    if (accusation !== undefined && proof !== undefined) return { accusation, proof }
  }
  const bare = bytes.length > MAX_PROOF_BYTES ? undefined : decodeProof(new Uint8Array(bytes))
  if (bare === undefined) throw new CliError(EXIT.refused, `${file} is not a proof of fraud, or was changed.`)
  return { proof: bare }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
