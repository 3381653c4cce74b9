/** What a person fills in, checked before anything is signed. The messages stand beside the form's fields. */
import * as v from 'valibot'
import { checkFileName } from '../../core/release/file-name.ts'
import { targetPath } from '../../core/release/announce.ts'
import { keysPathOf } from '../../core/release/confidential.ts'
import {
  CIPHER,
  INSTALLER,
  targetCustomSchema,
  type KeysTarget,
  type Release,
} from '../../core/release/target.ts'
import { compareVersions, isNewer, parseVersion } from '../../core/release/version.ts'
import { VendorError, type NewRelease, type ReleaseForm } from './api.ts'
import type { TargetEntry } from '../../core/release/repository.ts'

const MAX_HARDWARE = 64
const MAX_NOTES = 20_000
/** 100,000 sats a MiB: more is a slip of the keyboard. */
const MAX_CAP_MSAT = 100_000_000

/** The form with texts trimmed and empty options left out. */
export function normalised(form: ReleaseForm): ReleaseForm {
  const notes = form.notes?.toWellFormed().trim()
  const upgradesFrom = form.upgradesFrom?.trim()
  const installer = form.installer?.trim()
  return {
    product: form.product.trim(),
    version: form.version.trim(),
    fileName: form.fileName.normalize('NFC'),
    hardware: [...new Set(form.hardware.map((id) => id.trim()).filter((id) => id !== ''))],
    priceCapMsat: form.priceCapMsat,
    ...(notes ? { notes } : {}),
    ...(upgradesFrom ? { upgradesFrom } : {}),
    ...(installer ? { installer } : {}),
  }
}

/** The first thing wrong with a (normalised) form, or `undefined`. `out`: the releases that are live. */
export function checkForm(
  form: ReleaseForm,
  bytes: number,
  out: readonly Pick<Release, 'product' | 'version'>[],
): VendorError | undefined {
  const wrong = (field: keyof ReleaseForm, text: string) => new VendorError('bad-form', text, { field })
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    return new VendorError('bad-file', 'The file is empty: there is nothing to install. Choose another file.')
  }
  const name = checkFileName(form.fileName)
  if (name.tag === 'refused') return new VendorError('bad-file', name.text, { field: 'fileName' })
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(form.product)) {
    return wrong(
      'product',
      'The product needs 1 to 64 of a-z, 0-9, dot, dash or underscore, first a letter or digit.',
    )
  }
  if (!parseVersion(form.version)) {
    return wrong('version', 'The version begins with a digit and has no spaces, like 1.4.0 or 2026.11-rc1.')
  }
  if (form.hardware.length < 1 || form.hardware.length > MAX_HARDWARE) {
    return wrong(
      'hardware',
      `Name 1 to ${MAX_HARDWARE} hardware ids: only devices with one of them install it.`,
    )
  }
  if (form.hardware.some((id) => id.length > 64))
    return wrong('hardware', 'A hardware id has at most 64 characters.')
  if ((form.notes?.length ?? 0) > MAX_NOTES)
    return wrong('notes', `Notes have at most ${MAX_NOTES} characters.`)
  if (!Number.isSafeInteger(form.priceCapMsat) || form.priceCapMsat < 0 || form.priceCapMsat > MAX_CAP_MSAT) {
    return wrong('priceCapMsat', `The price cap lies between 0 and ${MAX_CAP_MSAT / 1000} sats per MiB.`)
  }
  if (form.upgradesFrom !== undefined && !parseVersion(form.upgradesFrom)) {
    return wrong('upgradesFrom', 'The lowest version to upgrade from begins with a digit, like 1.2.')
  }
  if (form.upgradesFrom !== undefined && compareVersions(form.upgradesFrom, form.version) >= 0) {
    return wrong(
      'upgradesFrom',
      `${form.upgradesFrom} is not older than ${form.version}, so nothing could upgrade.`,
    )
  }
  if (form.installer !== undefined && !INSTALLER.test(form.installer))
    return wrong('installer', 'The installer’s name has at most 200 characters, on one line.')
  const newest = newestOf(form.product, out)
  if (newest !== undefined && !isNewer(form.version, newest)) {
    const text = `${form.product} ${newest} is out already and ${form.version} is not newer. Devices never go back: use a higher version.`
    return new VendorError('not-newer', text, { field: 'version' })
  }
  return undefined
}

const newestOf = (
  product: string,
  out: readonly Pick<Release, 'product' | 'version'>[],
): string | undefined =>
  out
    .filter((release) => release.product === product)
    .map((release) => release.version)
    .sort(compareVersions)
    .at(-1)

/** Entries for targets.json; each checked against what is out and against those before it. @throws VendorError */
export function entriesOf(
  releases: readonly NewRelease[],
  out: readonly Pick<Release, 'product' | 'version'>[],
  nowMs: number,
  /** Of confidential releases; not needed for a check. */
  lists: ReadonlyMap<NewRelease, KeysTarget> = new Map(),
): TargetEntry[] {
  const known = [...out]
  return releases.map((one) => {
    const { meta, sha256, magnet, confidential } = one
    const form = normalised(one.form)
    const error = checkForm(form, meta.length, known)
    if (error) throw error
    known.push(form)
    const path = targetPath(form.product, form.version, form.fileName)
    const custom = v.parse(targetCustomSchema, {
      ...form,
      pieceLength: meta.pieceLength,
      piecesRoot: meta.piecesRoot,
      infoHash: meta.infoHash,
      magnet,
      releasedAt: Math.floor(nowMs / 1000),
      ...(confidential && {
        encrypted: {
          cipher: CIPHER,
          sha256: confidential.sha256,
          bytes: meta.length,
          keys: keysPathOf(path),
        },
      }),
    })
    const keys = lists.get(one)
    return { path, bytes: meta.length, sha256, custom, ...(keys && { keys }) }
  })
}
