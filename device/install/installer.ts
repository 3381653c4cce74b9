/** The install step, apart from everything that talks to the network: it sees a proven file and the owner's settings. */
import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import type { Plan } from '../../web/core/rollout/lifecycle.ts'
import type { Release } from '../../web/core/release/target.ts'

export type InstallResult =
  | { tag: 'ok' }
  /** `attack`: the file is not the one that was proven; somebody on this machine has put in another. */
  | { tag: 'unfit'; reason: string; attack?: 'replaced-file' }
  | { tag: 'stopped' }

export const unfit = (reason: string): InstallResult => ({ tag: 'unfit', reason })
export const replaced = (reason: string): InstallResult => ({
  tag: 'unfit',
  reason,
  attack: 'replaced-file',
})

/** Every method may be called again after a power cut in the middle of it. */
export interface Installer {
  prepare(product: string): Promise<Plan>
  /** Puts the proven file at `artifact` where it will run, and proves it again there. */
  place(plan: Plan, release: Release, artifact: string): Promise<InstallResult>
  activate(plan: Plan, release: Release): Promise<InstallResult>
  /** The owner's health command; without one, an installed file is a healthy one. */
  check(plan: Plan, release: Release): Promise<InstallResult>
  /** Brings back what ran before. */
  restore(plan: Plan, release: Release): Promise<InstallResult>
}

export const environmentOf = (
  release: Release,
  artifact: string,
  slot: string,
): Readonly<Record<string, string>> => ({
  SATPATCH_ARTIFACT: artifact,
  SATPATCH_VERSION: release.version,
  SATPATCH_PRODUCT: release.product,
  SATPATCH_SLOT: slot,
  SATPATCH_INSTALLER: release.installer ?? '',
})

const CHUNK_BYTES = 1024 * 1024

/** SHA-256 and length of what `handle` is open on: not of what may stand at its path by then. */
async function hashHandle(handle: FileHandle): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  let bytes = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, bytes)
    if (bytesRead === 0) return { sha256: hash.digest('hex'), bytes }
    hash.update(buffer.subarray(0, bytesRead))
    bytes += bytesRead
  }
}

export type Signed = Readonly<{ bytes: number; sha256: string }>

/** `undefined` when the file has the signed length and SHA-256. */
export async function differsFrom(signed: Signed, handle: FileHandle): Promise<string | undefined> {
  const got = await hashHandle(handle)
  if (got.bytes !== signed.bytes) return `it has ${got.bytes} bytes, the vendor signed ${signed.bytes}`
  if (got.sha256 !== signed.sha256) return `its SHA-256 is ${got.sha256}, the vendor signed ${signed.sha256}`
  return undefined
}

/** Whether the file at `path` is the one that was signed. */
export async function proveFile(signed: Signed, path: string): Promise<string | undefined> {
  const handle = await open(path, 'r')
  try {
    return await differsFrom(signed, handle)
  } finally {
    await handle.close()
  }
}

/** One path segment that the file system takes, whatever the signed name says. */
export function unfitName(fileName: string): string | undefined {
  const bytes = Buffer.byteLength(fileName)
  if (fileName === '.' || fileName === '..' || bytes === 0 || bytes > 255 || /[/\0\\]/.test(fileName)) {
    return `the file name ${JSON.stringify(fileName.slice(0, 80))} cannot be stored here`
  }
  return undefined
}
