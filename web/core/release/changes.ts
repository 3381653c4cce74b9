/** What a proposal changes, for the person who is asked to sign it: one change, one sentence. */
import { readTargets } from './announce.ts'
import { readDelegates } from './delegate.ts'
import { holdersOf, readPeople, vendorRoles, type RootDraft, type VendorRole } from './people.ts'
import type { Proposal, Published } from './proposal.ts'
import { releaseName, vendorBlockSchema, type Release } from './target.ts'
import { keyId, type RootSigned, type TargetsSigned } from './tuf.ts'
import * as v from 'valibot'

export type Change = Readonly<{
  sort: 'adds' | 'takes away' | 'alters'
  /** Begins with a capital and ends with a full stop. */
  text: string
}>

const what: Readonly<Record<VendorRole, string>> = { root: 'key changes', targets: 'releases' }

/** In the order: keys, thresholds, releases, everything else. Empty: the same is signed again. */
export function changesOf(now: Published, proposal: Proposal): readonly Change[] {
  return [
    ...(proposal.root ? rootChanges(now.root, proposal.root.signed) : []),
    ...(proposal.targets ? targetsChanges(now.targets.signed, proposal.targets.signed) : []),
    ...[...proposal.delegated].flatMap(([role, envelope]) =>
      releaseChanges(now.delegated.get(role)?.signed, envelope.signed),
    ),
  ]
}

function rootChanges(before: RootSigned, after: RootSigned): Change[] {
  const [old, next] = [readPeople(before), readPeople(after)]
  const out: Change[] = []
  for (const role of vendorRoles) {
    const [was, is] = [keysOf(old, role), keysOf(next, role)]
    for (const [id, name] of is) {
      const before = was.get(id)
      if (before !== undefined && before !== name && role === 'root')
        out.push({ sort: 'alters', text: `${before} is called ${name} from now on.` })
      if (before !== undefined) continue
      const replaces = [...was].some(([other, holder]) => holder === name && !is.has(other))
      out.push(
        replaces
          ? { sort: 'alters', text: `${name} gets a new key for ${what[role]}: ${id.slice(0, 16)}.` }
          : { sort: 'adds', text: `${name} may sign ${what[role]}, with the key ${id.slice(0, 16)}.` },
      )
    }
    for (const [id, name] of was) {
      const goesOn = [...is].some(([other, holder]) => holder === name && !was.has(other))
      if (!is.has(id) && !goesOn)
        out.push({ sort: 'takes away', text: `${name} may no longer sign ${what[role]}.` })
    }
    if (old.thresholds[role] !== next.thresholds[role]) {
      const text = `${countOf(next, role)} must sign ${what[role]} from now on, not ${old.thresholds[role]}.`
      out.push({ sort: 'alters', text })
    }
  }
  for (const role of ['snapshot', 'timestamp'] as const) {
    const ids = (root: RootSigned) => root.roles[role].keyids.toSorted().join()
    if (ids(before) !== ids(after))
      out.push({ sort: 'alters', text: `The relay's ${role} key is exchanged for another.` })
  }
  return out
}

const keysOf = (draft: RootDraft, role: VendorRole): ReadonlyMap<string, string> =>
  new Map(holdersOf(draft, role).flatMap(({ name, [role]: key }) => (key ? [[keyId(key), name]] : [])))

const countOf = (draft: RootDraft, role: VendorRole): string =>
  `${draft.thresholds[role]} of ${holdersOf(draft, role).length}`

function targetsChanges(before: TargetsSigned, after: TargetsSigned): Change[] {
  const [old, next] = [readDelegates(before.delegations), readDelegates(after.delegations)]
  const out = releaseChanges(before, after)
  for (const one of next) {
    const was = old.find(({ product }) => product === one.product)
    if (was && keyId(was.key) === keyId(one.key) && was.nostr === one.nostr) continue
    const text = `${one.name} may sign releases of ${one.product}, with the key ${keyId(one.key).slice(0, 16)}.`
    out.push({ sort: was ? 'alters' : 'adds', text })
  }
  for (const { product, name } of old)
    if (!next.some((one) => one.product === product))
      out.push({ sort: 'takes away', text: `${name} may no longer sign releases of ${product}.` })
  const known = old.length === next.length && out.every(({ text }) => !text.includes(' may '))
  if (known && JSON.stringify(before.delegations) !== JSON.stringify(after.delegations))
    out.push({ sort: 'alters', text: 'Delegations that another tool made are changed.' })
  return [...out, ...blockChanges(before.satpatch, after.satpatch)]
}

function releaseChanges(before: TargetsSigned | undefined, after: TargetsSigned): Change[] {
  const list = (targets: TargetsSigned | undefined): readonly Release[] =>
    targets ? readTargets(targets).releases : []
  const [old, next] = [list(before), list(after)]
  const out: Change[] = []
  for (const release of next) {
    const was = old.find(({ path }) => path === release.path)
    const { targetsVersion: _, ...said } = release
    if (!was) {
      const { confidential } = release
      const end = confidential ? `, encrypted; decrypted, SHA-256 ${confidential.sha256}.` : '.'
      const text = `${releaseName(release)} is released: ${release.bytes} bytes, SHA-256 ${release.sha256}${end}`
      out.push({ sort: 'adds', text })
    } else if (withoutKeys(said) === withoutKeys(was) && release.confidential) {
      if (release.confidential.keys.sha256 !== was.confidential?.keys.sha256)
        out.push({ sort: 'alters', text: `Who can read ${releaseName(release)} is changed.` })
    } else if (JSON.stringify(said) !== JSON.stringify({ ...was, targetsVersion: undefined })) {
      out.push({
        sort: 'alters',
        text: `What is said of ${releaseName(release)} is changed: SHA-256 ${release.sha256}.`,
      })
    }
  }
  for (const release of old)
    if (!next.some(({ path }) => path === release.path))
      out.push({ sort: 'takes away', text: `${releaseName(release)} is withdrawn.` })
  const others = (targets: TargetsSigned | undefined): string =>
    JSON.stringify(
      Object.entries(targets?.targets ?? {})
        .filter(
          ([path]) =>
            ![...old, ...next].some((one) => one.path === path || one.confidential?.keys.path === path),
        )
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    )
  if (others(before) !== others(after))
    out.push({ sort: 'alters', text: 'Files that are no releases of Satpatch are changed.' })
  return out
}

/** All that is said of a release but who can read it, as one text. */
const withoutKeys = ({ confidential, ...said }: Partial<Release>): string =>
  JSON.stringify({ ...said, targetsVersion: undefined, plain: { ...confidential, keys: undefined } })

function blockChanges(before: unknown, after: unknown): Change[] {
  const [old, next] = [v.safeParse(vendorBlockSchema, before), v.safeParse(vendorBlockSchema, after)]
  if (!old.success || !next.success) return []
  const out: Change[] = []
  if (old.output.name !== next.output.name)
    out.push({ sort: 'alters', text: `The vendor is called ${next.output.name} from now on.` })
  if (old.output.nostr !== next.output.nostr)
    out.push({ sort: 'alters', text: `Announcements and reports go by the Nostr key ${next.output.nostr}.` })
  const lists = [
    ['distributors', 'approved distributors'],
    ['relays', 'Nostr relays'],
    ['trackers', 'trackers'],
    ['mirrors', 'mirrors'],
  ] as const
  for (const [field, name] of lists) {
    const [was, is] = [old.output[field] ?? [], next.output[field] ?? []] as readonly (readonly string[])[]
    const added = (is ?? []).filter((one) => !(was ?? []).includes(one))
    const gone = (was ?? []).filter((one) => !(is ?? []).includes(one))
    if (added.length > 0) out.push({ sort: 'adds', text: `New among the ${name}: ${added.join(', ')}.` })
    if (gone.length > 0)
      out.push({ sort: 'takes away', text: `No longer among the ${name}: ${gone.join(', ')}.` })
  }
  return out
}
