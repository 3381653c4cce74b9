/** `satpatch keys add`, `remove`, `threshold`: who signs, and how many must. */
import { parsePartyKey } from '../../../web/core/bytes.ts'
import { decodeCard } from '../../../web/core/release/card.ts'
import { without, withPerson, type Person } from '../../../web/core/release/people.ts'
import { CliError, EXIT, usage, type Command, type Flags } from '../command.ts'
import { readKeyText } from '../keys-source.ts'
import { online, onlineFlags, tell } from './online.ts'

/** Whom an argument means: a card, or one key for what `--may` says. */
async function personOf(argument: string, flags: Flags): Promise<Person> {
  const may = flags.texts('may')
  const other = may.find((one) => one !== 'releases' && one !== 'key-changes')
  if (other !== undefined) throw usage(`--may is releases or key-changes, not "${other.slice(0, 40)}".`)
  const has = (what: string) => may.length === 0 || may.includes(what)
  const card = decodeCard(argument)
  const key = card ? undefined : await readKeyText(argument)
  const name = flags.text('name') ?? card?.name ?? ''
  if (name.trim() === '') throw usage('Give --name NAME: people who sign read it.')
  const [root, targets] = [card?.root ?? key, card?.targets ?? key]
  const nostr = card?.nostr ?? parsePartyKey(flags.text('nostr') ?? '')
  return {
    name: name.trim(),
    ...(root && has('key-changes') ? { root } : {}),
    ...(targets && has('releases') ? { targets } : {}),
    ...(nostr ? { nostr } : {}),
  }
}

export const add: Command = {
  verb: 'keys add',
  summary: 'Lets somebody else, or a machine, sign too.',
  argument: { name: 'WHO', help: 'their card (spkey1…), ed25519:HEX, or a public key file in PEM' },
  flags: {
    ...onlineFlags,
    name: { value: 'NAME', help: 'as you call them; it is signed and public' },
    nostr: {
      value: 'KEY',
      help: 'their Nostr key, 64 hex digits, where WHO is no card: it uploads torrents',
    },
    may: { value: 'WHAT', help: 'releases, key-changes; may be repeated (default both)', many: true },
  },
  run: (input) =>
    online(input, async (open) => {
      const person = await personOf(input.argument, input.flags)
      const outcome = await open.vendor.changeRoot((draft) => withPerson(draft, person))
      return tell(input, open, outcome, `${person.name} can sign.`)
    }),
}

export const remove: Command = {
  verb: 'keys remove',
  summary: 'Takes somebody out: a stolen or lost key, or one who leaves.',
  argument: { name: 'NAME', help: 'as "keys list" has it' },
  flags: onlineFlags,
  run: (input) =>
    online(input, async (open) => {
      const { argument: name } = input
      if (!open.signing.draft.people.some((person) => person.name === name))
        throw new CliError(
          EXIT.refused,
          `Nobody called "${name.slice(0, 80)}" signs. See: satpatch keys list.`,
        )
      const outcome = await open.vendor.changeRoot((draft) => without(draft, name))
      return tell(input, open, outcome, `${name} can sign nothing any more.`)
    }),
}

export const threshold: Command = {
  verb: 'keys threshold',
  summary: 'Sets how many must sign.',
  flags: {
    ...onlineFlags,
    releases: { value: 'N', help: 'signatures for releases' },
    'key-changes': { value: 'N', help: 'signatures for key changes' },
  },
  run: (input) =>
    online(input, async (open) => {
      const [targets, root] = [input.flags.count('releases'), input.flags.count('key-changes')]
      if (targets === undefined && root === undefined)
        throw usage('Give --releases N, --key-changes N, or both.')
      const outcome = await open.vendor.changeRoot((draft) => ({
        ...draft,
        thresholds: { root: root ?? draft.thresholds.root, targets: targets ?? draft.thresholds.targets },
      }))
      return tell(input, open, outcome, 'The numbers are changed.')
    }),
}
