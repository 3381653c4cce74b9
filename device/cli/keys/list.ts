/** `satpatch keys list`. */
import { keyId } from '../../../web/core/release/keys.ts'
import { holdersOf, isPerson, vendorRoles } from '../../../web/core/release/people.ts'
import { signLink } from '../../../web/core/release/sign-link.ts'
import { EXIT, type Command } from '../command.ts'
import { online, onlineFlags, short } from './online.ts'

export const list: Command = {
  verb: 'keys list',
  summary: 'Tells who signs for the vendor, how many must, and what waits for signatures.',
  flags: onlineFlags,
  run: (input) =>
    online(input, async ({ vendor, signing, mine, relayUrl }) => {
      const { draft, root, delegates, foreign } = signing
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
            foreign,
            nostr: signing.nostr,
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
      for (const { name, covers, signers, threshold } of foreign)
        input.out(`Another tool's delegation ${name} covers ${covers}: ${threshold} of ${signers} sign.`)
      for (const { link, changes } of waiting) input.out(`Waits for signatures: ${changes.join(' ')} ${link}`)
      return EXIT.ok
    }),
}
