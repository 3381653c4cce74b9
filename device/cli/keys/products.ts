/** `satpatch keys delegate`, `undelegate`: products that another key signs alone. */
import { parsePartyKey } from '../../../web/core/bytes.ts'
import { decodeCard } from '../../../web/core/release/card.ts'
import { CliError, EXIT, usage, type Command } from '../command.ts'
import { readKeyText } from '../keys-source.ts'
import { online, onlineFlags, tell } from './online.ts'

export const delegate: Command = {
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

export const undelegate: Command = {
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
