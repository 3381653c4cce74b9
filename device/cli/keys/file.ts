/** `satpatch keys new`, `show`, `backup`, `restore`: the key file itself, without any network. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { cardName, encodeCard } from '../../../web/core/release/card.ts'
import { KeysError, keysFromSecrets, parseSecrets } from '../../../web/edge/vendor/keys-file.ts'
import { errnoOf, storageError } from '../../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from '../command.ts'
import {
  keyFlags,
  keysFileOf,
  keysRefused,
  newKeyFile,
  openKeySource,
  writeSecrets,
  type KeySource,
} from '../keys-source.ts'
import { passphraseInput, passphraseOf } from '../secret-input.ts'
import { MISSING } from './online.ts'

export const fresh: Command = {
  verb: 'keys new',
  summary: 'Makes a key file, and tells its card.',
  flags: { ...keyFlags, name: { value: 'NAME', help: 'the name on the card' } },
  async run({ flags, log, out, json }) {
    const keys = keysFromSecrets(await newKeyFile(flags, log))
    const card = cardOf(flags, keys)
    out(json ? JSON.stringify({ file: keysFileOf(flags), card }) : card)
    return EXIT.ok
  },
}

export const show: Command = {
  verb: 'keys show',
  summary: 'Tells the card of these keys, which others add: public keys, no secret.',
  flags: { ...keyFlags, name: { value: 'NAME', help: 'the name on the card' } },
  async run({ flags, log, out, json }) {
    const { keys, secrets } = await openKeySource(flags, log, MISSING)
    const next = secrets.next && keysFromSecrets({ ...secrets.next, nostr: secrets.nostr })
    const card = cardOf(flags, flags.has('sign-with') ? keys : (next ?? keys))
    const { rootKey, targetsKey, nostr } = keys
    out(json ? JSON.stringify({ card, root: rootKey, targets: targetsKey, nostr: nostr.key }) : card)
    return EXIT.ok
  },
}

function cardOf(flags: Flags, keys: KeySource['keys']): string {
  try {
    const name = cardName(flags.text('name') ?? '')
    return encodeCard({ name, nostr: keys.nostr.key, root: keys.rootKey, targets: keys.targetsKey })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw usage(
      'A card holds Ed25519 keys. Give this key to "keys add" or "keys delegate" as a PEM file instead.',
    )
  }
}

export const backup: Command = {
  verb: 'keys backup',
  summary: 'Writes an encrypted copy of the key file.',
  argument: { name: 'FILE', help: 'where to; it must not exist' },
  flags: {
    ...keyFlags,
    'backup-passphrase-file': { value: 'FILE', help: 'passphrase of the copy (default: the key file’s)' },
  },
  async run({ argument, flags, log, out, json }) {
    const { secrets } = await openKeySource(flags, log, MISSING)
    const passphrase = (await passphraseOf(flags, 'backup-passphrase-file')) ?? (await passphraseInput(flags))
    if (passphrase === undefined)
      throw usage('A backup is encrypted: give --backup-passphrase-file, or the key file’s passphrase.')
    const file = resolve(argument)
    if ((await textOf(file)) !== undefined) throw new CliError(EXIT.refused, `There is a ${file} already.`)
    await writeSecrets(file, secrets, passphrase)
    // Tried at once: a backup that cannot be read back is none.
    await parseSecrets((await textOf(file)) ?? '', passphrase)
    out(
      json
        ? JSON.stringify({ file })
        : `The copy is in ${file}, and was tried. Keep it apart from its passphrase.`,
    )
    return EXIT.ok
  },
}

export const restore: Command = {
  verb: 'keys restore',
  summary: 'Makes the key file from a backup: of this command or of the vendor’s page.',
  argument: { name: 'BACKUP', help: 'the encrypted backup' },
  flags: { ...keyFlags, force: { help: 'replace the key file that is there' } },
  async run({ argument, flags, out, json }) {
    const from = resolve(argument)
    const text = await textOf(from)
    if (text === undefined) throw new CliError(EXIT.failure, `There is no ${from}.`)
    const passphrase = await passphraseInput(flags)
    const file = keysFileOf(flags)
    if ((await textOf(file)) !== undefined && !flags.has('force'))
      throw new CliError(
        EXIT.refused,
        `There is a ${file} already. Nothing was changed; --force replaces it.`,
      )
    try {
      await writeSecrets(file, await parseSecrets(text, passphrase), passphrase)
    } catch (error) {
      if (error instanceof KeysError) throw keysRefused(from, error)
      throw error
    }
    out(json ? JSON.stringify({ file }) : `The keys are in ${file} again.`)
    return EXIT.ok
  },
}

async function textOf(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, file)
  }
}
