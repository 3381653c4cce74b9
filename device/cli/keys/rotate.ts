/** `satpatch keys rotate`: own keys for new ones. */
import { isPerson, withNewKeys } from '../../../web/core/release/people.ts'
import { signerOf } from '../../../web/edge/vendor/keys-file.ts'
import { CliError, EXIT, usage, type Command, type ExitCode, type Input } from '../command.ts'
import { newNostrKey, newSigningKeys } from '../keys-source.ts'
import { online, onlineFlags, tell } from './online.ts'

export const rotate: Command = {
  verb: 'keys rotate',
  summary: 'Exchanges the keys of this file for new ones; old and new keys sign the change.',
  about: `
The new keys are written into the key file, beside the old, before anything is signed; the old ones are deleted from it
once the change is in force. Make a backup afterwards. --role takes only the key of one role. The Nostr key, which announces
and is whom devices report to, is exchanged by --role nostr alone: the vendor's targets name the new one, devices follow at
their next look, and refuse the old; it stays in the file to read what they wrote before.`,
  flags: {
    ...onlineFlags,
    role: { value: 'ROLE', help: 'root, targets or nostr (default root and targets)' },
  },
  async run(input) {
    const role = input.flags.text('role')
    if (role === 'nostr') return rotateNostr(input)
    if (role !== undefined && role !== 'root' && role !== 'targets')
      throw usage('--role is root, targets or nostr.')
    if (input.flags.has('sign-with'))
      throw usage(
        'A key of --sign-with is exchanged by "keys add" of the new one and "keys remove" of the old.',
      )
    let name = ''
    await online(input, async ({ source, signing, mine }) => {
      const me = signing.draft.people.find((person) => isPerson(person, mine))
      if (!me)
        throw new CliError(EXIT.refused, 'These keys are not in the list: ask the vendor to exchange them.')
      name = me.name
      const { secrets } = source
      if (secrets.next) return EXIT.ok // an earlier attempt made them
      const made = newSigningKeys()
      const { root, targets } = secrets
      const next = role === undefined ? made : { root, targets, [role]: made[role] }
      await source.save({ ...secrets, next })
      return EXIT.ok
    })
    // Opened anew: now old and new keys sign.
    return online(input, async (open) => {
      const { next } = open.source.secrets
      if (!next) throw new CliError(EXIT.failure, 'The new keys are in force already.')
      const keys = { root: signerOf(next.root).key, targets: signerOf(next.targets).key }
      const outcome = await open.vendor.changeRoot((draft) => withNewKeys(draft, name, keys))
      return tell(input, open, outcome, 'The new keys are in force. Make a backup of them now.')
    })
  },
}

async function rotateNostr(input: Input): Promise<ExitCode> {
  await online(input, async ({ source, signing }) => {
    const { secrets } = source
    if (signing.nostr !== source.keys.nostr.key)
      input.log.warn(
        'the vendor’s targets name another Nostr key than this file has; they will name the new one',
      )
    // Written down before anything is signed.
    if (!secrets.nextNostr) await source.save({ ...secrets, nextNostr: newNostrKey() })
    return EXIT.ok
  })
  return online(input, async (open) => {
    const outcome = await open.vendor.changeNostr()
    return tell(input, open, outcome, 'The new Nostr key is in force. Make a backup of it now.')
  })
}
