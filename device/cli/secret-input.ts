/** Secrets for commands: from a file or the environment, never from the command line, where others can read them. */
import { readFile, stat } from 'node:fs/promises'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, type Flags } from './command.ts'

/** The wallet connection of `--wallet-file` or SATPATCH_WALLET. @throws CliError for one with a typo */
export async function walletInput(flags: Flags): Promise<string | undefined> {
  const file = flags.text('wallet-file')
  const text = file === undefined ? process.env['SATPATCH_WALLET'] : await readSecret(file)
  if (text === undefined || text.trim() === '') return undefined
  const parsed = parseConnection(text)
  if (!parsed.ok) throw new CliError(EXIT.usage, `${file ?? 'SATPATCH_WALLET'}: ${parsed.message}`)
  return text.trim()
}

/** The passphrase of `--passphrase-file` or SATPATCH_PASSPHRASE. */
export const passphraseInput = async (flags: Flags): Promise<string | undefined> =>
  (await passphraseOf(flags, 'passphrase-file')) ?? withoutNewline(process.env['SATPATCH_PASSPHRASE'])

/** The passphrase in the file that a flag names. */
export async function passphraseOf(flags: Flags, name: string): Promise<string | undefined> {
  const file = flags.text(name)
  return file === undefined ? undefined : withoutNewline(await readSecret(file))
}

/** A secret that a command keeps; `undefined` before it did. @throws StorageError */
export async function keptSecret(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, file)
  }
}

const withoutNewline = (text: string | undefined): string | undefined =>
  text === undefined || text === '' ? undefined : text.replace(/\r?\n$/, '')

async function readSecret(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw storageError(error, file)
  }
}

/** True when others than the owner may read the file. */
export async function isExposed(file: string): Promise<boolean> {
  const { mode } = await stat(file)
  return (mode & 0o077) !== 0
}
