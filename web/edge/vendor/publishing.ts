/** What the vendor signs in its targets: releases, who distributes them, where mirrors are. */
import { readMirrors } from '../../core/release/mirrors.ts'
import type { VendorBlock } from '../../core/release/target.ts'
import { MetainfoError, readMetainfo } from '../../core/swarm/metainfo.ts'
import { putTorrent } from '../release/api.ts'
import { fetchTorrent } from '../release/mirror.ts'
import { VendorError, type Vendor } from './api.ts'
import { wrapNew } from './confidential.ts'
import type { Engine } from './engine.ts'
import { checkForm, entriesOf, normalised } from './form.ts'
import { rethrow } from './signing.ts'

type Publishing = Pick<
  Vendor,
  'check' | 'publish' | 'withdraw' | 'setApproved' | 'setMirrors' | 'resign' | 'torrent'
>

/** A release's path is `product/version/fileName`. */
const productOf = (path: string): string => path.split('/')[0] ?? ''

export function createPublishing(engine: Engine): Publishing {
  const { deps, standing, announcing, inTurn, need, change } = engine
  const changeBlock = (edit: (block: VendorBlock) => VendorBlock): Promise<void> =>
    inTurn(async () => {
      const { verified: next } = await change((draft) => ({ ...draft, block: edit(draft.block) }))
      standing.adopt(next)
      await announcing.tellNewest()
    })

  return {
    check: (form, bytes) =>
      checkForm(normalised(form), bytes, standing.everOut(standing.verified()?.releases ?? [])),

    publish: (wanted) =>
      inTurn(async () => {
        const { vendor } = need()
        if (wanted.length === 0) throw new VendorError('bad-file', 'There is no file to publish. Choose one.')
        // Before anything is uploaded or signed.
        entriesOf(wanted, standing.everOut(standing.verified()?.releases ?? []), deps.nowMs())
        for (const { meta } of wanted) {
          await putTorrent(
            deps.fetch,
            deps.relayUrl,
            vendor,
            meta.infoHash,
            meta.torrent,
            deps.keys.nostr.secret,
            deps.nowMs(),
          ).catch(rethrow)
        }
        const lists = await wrapNew(engine, wanted)
        const { verified: next } = await change((draft, base) => {
          const added = entriesOf(wanted, standing.everOut(base.releases), deps.nowMs(), lists)
          return { ...draft, entries: [...draft.entries, ...added] }
        }, wanted[0]?.form.product.trim())
        standing.adopt(next)
        const out = wanted.map(({ sha256, form }) => {
          const { product, version } = normalised(form)
          const release = next.releases.find(
            (one) => one.product === product && one.version === version && one.sha256 === sha256,
          )
          if (!release)
            throw new VendorError('untrusted', 'The release is not among the verified ones. Reload the page.')
          return release
        })
        for (const release of out) await announcing.tell(release, 'live', next.targetsVersion)
        return out
      }),

    withdraw: (path) =>
      inTurn(async () => {
        const { verified: next, before } = await change((draft) => {
          const entries = draft.entries.filter((entry) => entry.path !== path)
          if (entries.length === draft.entries.length) {
            throw new VendorError('unknown-release', 'This release is not out, or was withdrawn already.')
          }
          return { ...draft, entries }
        }, productOf(path))
        const release = before.releases.find((one) => one.path === path)
        if (release) standing.withdrew(release)
        standing.adopt(next)
        if (release) await announcing.tell(release, 'withdrawn', next.targetsVersion)
      }),

    setApproved: (distributors) =>
      changeBlock((block) => ({ ...block, distributors: [...new Set(distributors)] })),

    async setMirrors(urls) {
      const read = readMirrors(urls)
      if (read.tag === 'refused') throw new VendorError('bad-form', `${read.text} Nothing was changed.`)
      await changeBlock((block) => ({ ...block, mirrors: [...read.mirrors] }))
    },

    resign: () => changeBlock((block) => block),

    async torrent(release) {
      const { vendor } = need()
      const fetched = await fetchTorrent([deps.relayUrl], vendor, release.infoHash, deps.fetch)
      if (fetched.tag === 'failed') {
        throw new VendorError(
          'unreachable',
          `The torrent of ${release.path} cannot be fetched: ${fetched.text}.`,
        )
      }
      try {
        return readMetainfo(fetched.bytes, release)
      } catch (cause) {
        if (!(cause instanceof MetainfoError)) throw cause
        throw new VendorError('untrusted', `The mirror's torrent is not usable: ${cause.message}.`, { cause })
      }
    },
  }
}
