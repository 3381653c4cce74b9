/** `satpatch keys …`: who signs for a vendor, from a terminal or a build machine. The page `/keys` does the same. */
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parsePartyKey } from '../../web/core/bytes.ts'
import { cardName, decodeCard, encodeCard } from '../../web/core/release/card.ts'
import { keyId } from '../../web/core/release/keys.ts'
import {
  holdersOf,
  isPerson,
  vendorRoles,
  withNewKeys,
  without,
  withPerson,
  type Person,
} from '../../web/core/release/people.ts'
import { parseSignLink, signLink } from '../../web/core/release/sign-link.ts'
import type { Outcome, SigningView, Vendor, WaitingView } from '../../web/edge/vendor/api.ts'
import { KeysError, keysFromSecrets, parseSecrets, signerOf } from '../../web/edge/vendor/keys-file.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type ExitCode, type Flags, type Input } from './command.ts'
import {
  keyFlags,
  keysFileOf,
  keysRefused,
  newKeyFile,
  newSigningKeys,
  openKeySource,
  readKeyText,
  writeSecrets,
  type KeySource,
} from './keys-source.ts'
import { passphraseInput, passphraseOf } from './secret-input.ts'
import { openVendor, vendorFlags } from './vendor-session.ts'

const MISSING = 'Save a backup of the vendor’s page there, or make keys with: satpatch keys new.'
const onlineFlags = { ...keyFlags, ...vendorFlags }

type Online = Readonly<{
  vendor: Vendor
  source: KeySource
  signing: SigningView
  relayUrl: string
  mine: ReadonlySet<string>
}>

/** Runs with a vendor that these keys sign for; keeps new keys that have come into force. */
async function online(input: Input, run: (open: Online) => Promise<ExitCode>): Promise<ExitCode> {
  const source = await openKeySource(input.flags, input.log, MISSING)
  return openVendor(input, source, join(dirname(source.file), 'keys-cli'), async ({ vendor, relayUrl }) => {
    const signing = vendor.signing.get()
    if (!signing)
      throw new CliError(
        EXIT.refused,
        'These keys sign for no vendor of this relay. Give --vendor ID, or have the vendor add your card.',
      )
    await source.settle(signing.root)
    const mine = new Set(source.keys.signers.map(({ key }) => keyId(key)))
    const code = await run({ vendor, source, signing, relayUrl, mine })
    const now = vendor.signing.get()
    if (now) await source.settle(now.root)
    return code
  })
}

function tell({ out, json }: Input, { signing, relayUrl }: Online, outcome: Outcome, done: string): ExitCode {
  if (outcome.tag === 'published') {
    out(json ? JSON.stringify({ published: true }) : `${done} Devices follow at their next look.`)
    return EXIT.ok
  }
  const link = signLink({ vendor: signing.vendor, id: outcome.id }, relayUrl)
  out(
    json
      ? JSON.stringify({ published: false, id: outcome.id, link })
      : `Signed; it waits for more signatures. Send this link, or run: satpatch keys sign ${link}`,
  )
  return EXIT.waiting
}

const short = (id: string): string => id.slice(0, 16)

const list: Command = {
  verb: 'keys list',
  summary: 'Tells who signs for the vendor, how many must, and what waits for signatures.',
  flags: onlineFlags,
  run: (input) =>
    online(input, async ({ vendor, signing, mine, relayUrl }) => {
      const { draft, root, delegates } = signing
      const people = draft.people.map((person) => ({
        name: person.name,
        you: isPerson(person, mine),
        ...(person.root ? { root: keyId(person.root) } : {}),
        ...(person.targets ? { targets: keyId(person.targets) } : {}),
      }))
      const waiting = vendor.waiting.get().map((view) => ({
        link: signLink(view, relayUrl),
        changes: view.changes.map(({ text }) => text),
      }))
      if (input.json) {
        const handedOver = delegates.map(({ product, name, key }) => ({ product, name, key: keyId(key) }))
        const { thresholds } = draft
        input.out(
          JSON.stringify({
            vendor: signing.vendor,
            rootVersion: root.version,
            people,
            thresholds,
            delegates: handedOver,
            waiting,
          }),
        )
        return EXIT.ok
      }
      for (const { name, you, root: rootId, targets } of people) {
        const may = [rootId && `key changes ${short(rootId)}`, targets && `releases ${short(targets)}`]
        input.out(`${name}${you ? ' (you)' : ''}: ${may.filter(Boolean).join(', ')}`)
      }
      for (const role of vendorRoles) {
        const what = role === 'root' ? 'Key changes' : 'Releases'
        input.out(`${what} need ${draft.thresholds[role]} of ${holdersOf(draft, role).length} signatures.`)
      }
      for (const { product, name, key } of delegates)
        input.out(`${product} is released by ${name}, key ${short(keyId(key))}.`)
      for (const { link, changes } of waiting) input.out(`Waits for signatures: ${changes.join(' ')} ${link}`)
      return EXIT.ok
    }),
}

const fresh: Command = {
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

const show: Command = {
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

const add: Command = {
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

const remove: Command = {
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

const threshold: Command = {
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

const rotate: Command = {
  verb: 'keys rotate',
  summary: 'Exchanges the keys of this file for new ones; old and new keys sign the change.',
  about: `
The new keys are written into the key file, beside the old, before anything is signed; the old ones are deleted from it
once the change is in force. Make a backup afterwards. --role takes only the key of one role.`,
  flags: { ...onlineFlags, role: { value: 'ROLE', help: 'root or targets (default both)' } },
  async run(input) {
    const role = input.flags.text('role')
    if (role !== undefined && role !== 'root' && role !== 'targets') throw usage('--role is root or targets.')
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

const delegate: Command = {
  verb: 'keys delegate',
  summary: 'Hands the releases of one product over to another key, which signs them alone.',
  argument: { name: 'PRODUCT', help: 'the product, as releases name it' },
  flags: {
    ...onlineFlags,
    to: { value: 'WHO', help: 'their card (spkey1…), ed25519:HEX, or a public key file in PEM' },
    name: { value: 'NAME', help: 'as you call them' },
    nostr: { value: 'KEY', help: 'their Nostr key, 64 hex digits, where --to is no card' },
  },
  run: (input) =>
    online(input, async (open) => {
      const to = input.flags.text('to')
      if (to === undefined) throw usage('Give --to WHO: a card, ed25519:HEX or a PEM file.')
      const card = decodeCard(to)
      const nostr = card?.nostr ?? parsePartyKey(input.flags.text('nostr') ?? '')
      if (!nostr)
        throw usage('Give --nostr KEY, 64 hex digits: it uploads the product’s torrents. A card has it.')
      const outcome = await open.vendor.delegate({
        product: input.argument,
        name: input.flags.text('name') ?? card?.name ?? '',
        key: card?.targets ?? (await readKeyText(to)),
        nostr,
      })
      return tell(input, open, outcome, `${input.argument} is handed over.`)
    }),
}

const undelegate: Command = {
  verb: 'keys undelegate',
  summary: 'Takes a product back.',
  argument: { name: 'PRODUCT', help: 'the product' },
  flags: onlineFlags,
  run: (input) =>
    online(input, async (open) => {
      if (!open.signing.delegates.some(({ product }) => product === input.argument))
        throw new CliError(EXIT.refused, `"${input.argument.slice(0, 80)}" is not handed over to anybody.`)
      const outcome = await open.vendor.undelegate(input.argument)
      return tell(input, open, outcome, `${input.argument} is yours alone again.`)
    }),
}

const sign: Command = {
  verb: 'keys sign',
  summary: 'Shows a change that somebody has proposed, and with --yes signs it too.',
  about: `
LINK is what the proposer sends. The change is checked here by the rules that devices go by, and told sentence by
sentence. With enough signatures it is published at once.`,
  argument: { name: 'LINK', help: 'the link, or VENDOR.PROPOSAL' },
  flags: { ...onlineFlags, yes: { help: 'sign it' } },
  async run(input) {
    const link = parseSignLink(input.argument)
    if (!link) throw usage('That is no link to a proposal: it ends with #sign=… .')
    const source = await openKeySource(input.flags, input.log, MISSING)
    return openVendor(input, source, join(dirname(source.file), 'keys-cli'), async ({ vendor, relayUrl }) => {
      const view = await vendor.look(link.vendor, link.id)
      if (!view)
        throw new CliError(
          EXIT.refused,
          'This waits for no signature any more: it was published, or another change came first.',
        )
      if (!input.flags.has('yes')) return showProposal(input, view)
      const outcome = await vendor.approve(link.vendor, link.id)
      const told = signLink(link, relayUrl)
      if (input.json)
        input.out(
          JSON.stringify({ published: outcome.tag === 'published', link: told, changes: textsOf(view) }),
        )
      else {
        for (const text of textsOf(view)) input.out(text)
        input.out(
          outcome.tag === 'published' ? 'Signed, and published.' : `Signed; it waits for more: ${told}`,
        )
      }
      return outcome.tag === 'published' ? EXIT.ok : EXIT.waiting
    })
  },
}

const textsOf = (view: WaitingView): string[] =>
  view.changes.length === 0
    ? ['The same is signed again, for another 30 days.']
    : view.changes.map(({ text }) => text)

function showProposal({ json, out }: Input, view: WaitingView): ExitCode {
  if (json) out(JSON.stringify({ signed: false, mayIsign: view.mine, changes: textsOf(view) }))
  else {
    for (const text of textsOf(view)) out(text)
    out(view.mine ? 'Not signed yet: give --yes to sign it.' : 'No key here may sign it, or all have.')
  }
  return EXIT.waiting
}

const backup: Command = {
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

const restore: Command = {
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

export const keysCommands: readonly Command[] = [
  list,
  fresh,
  show,
  add,
  remove,
  threshold,
  rotate,
  delegate,
  undelegate,
  sign,
  backup,
  restore,
]
