/** `satpatch keys sign`: shows what others propose, and signs it. */
import { dirname, join } from 'node:path'
import { parseSignLink, signLink } from '../../../web/core/release/sign-link.ts'
import type { WaitingView } from '../../../web/edge/vendor/api.ts'
import { CliError, EXIT, usage, type Command, type ExitCode, type Input } from '../command.ts'
import { openKeySource } from '../keys-source.ts'
import { openVendor } from '../vendor-session.ts'
import { MISSING, onlineFlags } from './online.ts'

export const sign: Command = {
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
