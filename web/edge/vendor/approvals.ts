/**
 * Changes of who signs, and changes that wait for signatures: proposed here, or opened by a link from a colleague.
 * Nothing that the relay says of them is believed: each is judged against verified metadata before it is shown.
 */
import * as v from 'valibot'
import type { Sha256Hex, VendorId } from '../../core/bytes.ts'
import { liveCell, type Live } from '../../core/live.ts'
import { checkDraft, nextRootOf, readPeople, vendorRoles, type RootDraft } from '../../core/release/people.ts'
import { signableBy, type Published } from '../../core/release/proposal.ts'
import { expiresAt, LIFETIME_MS } from '../../core/release/repository.ts'
import { sha256HexSchema } from '../../core/release/target.ts'
import { keyId, type RootSigned } from '../../core/release/tuf.ts'
import { ApiError } from '../release/api.ts'
import { VendorError, type Outcome, type VendorDeps, type WaitingView } from './api.ts'
import { signFile } from './sign-file.ts'
import { baseOf, fromApi } from './signing.ts'
import {
  cosign,
  openProposal,
  publishedNow,
  submitFiles,
  type OpenProposal,
  type Submitted,
} from './submit.ts'

/** How often the relay is asked about what waits, while something does. */
const LOOK_EVERY_MS = 10_000
const MAX_KEPT = 32

type Deps = Pick<VendorDeps, 'keys' | 'relayUrl' | 'store' | 'fetch' | 'nowMs'>
const keptSchema = v.pipe(v.string(), v.parseJson(), v.array(sha256HexSchema))

/** The named keys of both roots, for "Ann has signed". */
function namesOf(...roots: readonly (RootSigned | undefined)[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  for (const root of roots)
    for (const person of root ? readPeople(root).people : [])
      for (const role of vendorRoles) if (person[role]) names.set(keyId(person[role]), person.name)
  return names
}

function viewOf(deps: Deps, vendor: VendorId, now: Published, open: OpenProposal): WaitingView {
  const { proposal, changes } = open
  const ids = new Set(deps.keys.signers.map(({ key }) => keyId(key)))
  return {
    vendor,
    id: proposal.id,
    changes,
    needs: proposal.needs,
    mine: signableBy(proposal, ids).size > 0,
    names: namesOf(now.root, proposal.root?.signed),
  }
}

type Found = Readonly<{ now: Published; open: OpenProposal }>

async function find(deps: Deps, vendor: VendorId, id: Sha256Hex): Promise<Found | undefined> {
  const where = { ...deps, vendor }
  const now = await publishedNow(where, await baseOf(deps, vendor, 0))
  const open = await openProposal(where, now, id, deps.nowMs())
  return open && { now, open }
}

const spoken = (error: unknown): never => {
  throw error instanceof ApiError ? fromApi(error) : error
}

/** `undefined`: it waits no more. @throws VendorError */
export async function look(deps: Deps, vendor: VendorId, id: Sha256Hex): Promise<WaitingView | undefined> {
  const found = await find(deps, vendor, id).catch(spoken)
  return found && viewOf(deps, vendor, found.now, found.open)
}

const outcomeOf = (submitted: Submitted): Outcome =>
  submitted.tag === 'published' ? submitted : { tag: 'waiting', id: submitted.id }

/** @throws VendorError */
export async function approve(deps: Deps, vendor: VendorId, id: Sha256Hex): Promise<Outcome> {
  const found = await find(deps, vendor, id).catch(spoken)
  if (!found)
    throw new VendorError(
      'conflict',
      'This does not wait for a signature any more: it was published, or another change came first.',
    )
  return outcomeOf(await cosign({ ...deps, vendor }, found.open, deps.keys.signers).catch(spoken))
}

/**
 * Signs the next root with every key here that the old or the new one names. Where the targets' keys change, the
 * targets are signed again with it: by old and new keys, so that they stand under both. @throws VendorError
 */
export async function changeRoot(
  deps: Deps,
  vendor: VendorId,
  floor: number,
  edit: (draft: RootDraft) => RootDraft,
): Promise<Outcome> {
  const { current } = await baseOf(deps, vendor, floor)
  const [before, nowMs] = [current.root.signed, deps.nowMs()]
  const draft = edit(readPeople(before))
  const wrong = checkDraft(draft)
  if (wrong) throw new VendorError('bad-form', wrong.text)
  const after = nextRootOf(before, draft, nowMs)
  const { signers } = deps.keys
  const ids = (role: 'root' | 'targets') =>
    new Set([...before.roles[role].keyids, ...after.roles[role].keyids])
  const may = new Set<string>(before.roles.root.keyids)
  if (!signers.some(({ key }) => may.has(keyId(key)))) {
    const text = 'No key here may sign changes of keys. Ask somebody who may, and send them your card.'
    throw new VendorError('not-signer', text)
  }
  const root = await signFile(signers, after, ids('root'))
  const said = ({ roles: { targets } }: RootSigned) =>
    JSON.stringify([targets.keyids.toSorted(), targets.threshold])
  const files =
    said(before) === said(after)
      ? { root }
      : {
          root,
          targets: await signFile(
            signers,
            {
              ...current.targets.signed,
              version: current.targets.signed.version + 1,
              expires: expiresAt(nowMs + LIFETIME_MS.targets),
            },
            ids('targets'),
          ),
        }
  return outcomeOf(await submitFiles({ ...deps, vendor }, files).catch(spoken))
}

export interface Approvals {
  readonly waiting: Live<readonly WaitingView[]>
  /** Watches a proposal until it waits no more. */
  add(id: Sha256Hex): Promise<void>
  /** Asks the relay now. */
  refresh(): Promise<void>
  close(): void
}

/** Keeps watch over what waits; `onGone` when something was published, or overtaken. */
export function watchApprovals(deps: Deps, vendor: VendorId, onGone: () => void): Approvals {
  const home = `proposals/${vendor}`
  const waiting = liveCell<readonly WaitingView[]>([])
  let ids: readonly Sha256Hex[] = []
  let timer: ReturnType<typeof setTimeout> | undefined
  let closed = false
  let looks = 0

  const keep = (next: readonly Sha256Hex[]): Promise<void> => {
    ids = next
    return deps.store.put(home, JSON.stringify(next))
  }
  const again = (): void => {
    clearTimeout(timer)
    if (!closed && ids.length > 0)
      timer = setTimeout(() => void refresh().catch(() => undefined), LOOK_EVERY_MS)
  }
  const refresh = (): Promise<void> => lookAll(++looks).finally(again)
  /** Of looks that overlap the last one shows what it saw: the others may not know of what was added since. */
  async function lookAll(turn: number): Promise<void> {
    const views: WaitingView[] = []
    const gone: Sha256Hex[] = []
    for (const id of ids) {
      const view = await look(deps, vendor, id).catch((error: unknown) => {
        // Overtaken by another change: it can never be published.
        if (error instanceof VendorError && error.code === 'untrusted') return undefined
        throw error
      })
      if (view) views.push(view)
      else gone.push(id)
    }
    if (closed || turn !== looks) return
    waiting.set(views)
    if (gone.length === 0) return
    onGone()
    await keep(ids.filter((id) => !gone.includes(id)))
  }
  const started = deps.store.get(home).then(async (text) => {
    const kept = v.safeParse(keptSchema, text)
    if (kept.success) ids = [...kept.output, ...ids]
    await refresh()
  })
  started.catch(() => undefined)

  return {
    waiting,
    async add(id) {
      await started.catch(() => undefined)
      if (!ids.includes(id)) await keep([...ids, id].slice(-MAX_KEPT))
      await refresh()
    },
    refresh,
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
