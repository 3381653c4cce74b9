/** What `satpatch keys …` share: a vendor that these keys sign for, and how a change is told. */
import { dirname, join } from 'node:path'
import { keyId } from '../../../web/core/release/keys.ts'
import { signLink } from '../../../web/core/release/sign-link.ts'
import type { Outcome, SigningView, Vendor } from '../../../web/edge/vendor/api.ts'
import { CliError, EXIT, type ExitCode, type Input } from '../command.ts'
import { keyFlags, openKeySource, type KeySource } from '../keys-source.ts'
import { openVendor, vendorFlags } from '../vendor-session.ts'

export const MISSING = 'Save a backup of the vendor’s page there, or make keys with: satpatch keys new.'
export const onlineFlags = { ...keyFlags, ...vendorFlags }

export type Online = Readonly<{
  vendor: Vendor
  source: KeySource
  signing: SigningView
  relayUrl: string
  mine: ReadonlySet<string>
}>

/** Runs with a vendor that these keys sign for; keeps new keys that have come into force. */
export async function online(input: Input, run: (open: Online) => Promise<ExitCode>): Promise<ExitCode> {
  const source = await openKeySource(input.flags, input.log, MISSING)
  for (;;) {
    let changed = false
    const dataDir = join(dirname(source.file), 'keys-cli')
    const code = await openVendor(input, source, dataDir, async ({ vendor, relayUrl }) => {
      const signing = vendor.signing.get()
      if (!signing)
        throw new CliError(
          EXIT.refused,
          'These keys sign for no vendor of this relay. Give --vendor ID, or have the vendor add your card.',
        )
      const nostr = source.keys.nostr.key
      await source.settle(signing)
      changed = source.keys.nostr.key !== nostr // the vendor is opened anew, by the key that is in force
      if (changed) return EXIT.ok
      const mine = new Set(source.keys.signers.map(({ key }) => keyId(key)))
      const exit = await run({ vendor, source, signing, relayUrl, mine })
      const now = vendor.signing.get()
      if (now) await source.settle(now)
      return exit
    })
    if (!changed) return code
  }
}

export function tell(
  { out, json }: Input,
  { signing, relayUrl }: Online,
  outcome: Outcome,
  done: string,
): ExitCode {
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

export const short = (id: string): string => id.slice(0, 16)
