/** `satpatch export DIR`: a copy of a vendor's mirror for any static host, or for a stick. */
import { copyFile, link, mkdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { parseSha256Hex, type Bytes, type VendorId } from '../../web/core/bytes.ts'
import { plainOf } from '../../web/core/release/confidential.ts'
import { relayBaseUrl } from '../../web/core/rollout/join.ts'
import { readMetainfo } from '../../web/core/swarm/metainfo.ts'
import { fetchRelayConfig, RelayConfigError } from '../../web/edge/relay-config.ts'
import { LIMITS } from '../../web/core/release/tuf.ts'
import { fetchBounded } from '../../web/edge/release/http.ts'
import {
  failureText,
  fetchKeys,
  fetchTorrent,
  refresh,
  type Verified,
} from '../../web/edge/release/mirror.ts'
import { memoryStore } from '../../web/edge/release/store.ts'
import { proveFile } from '../install/installer.ts'
import { syncDirectory, temporaryName, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command } from './command.ts'

/** Anybody may read a mirror: that is what it is for. */
const FILE_MODE = 0o644
const DIRECTORY_MODE = 0o755

export const exportCommand: Command = {
  verb: 'export',
  summary: 'Writes a copy of a vendor’s mirror into DIR, for a static host or a USB stick.',
  about: `
DIR gets v/VENDOR/metadata, torrents, the wrapped keys of confidential releases (blobs) and, for each --artifact, artifacts. Any web server can serve it: devices take it as
one more mirror ("mirrors" in device.toml, or in the vendor's metadata) and check all of it themselves. The relay's
timestamp holds for a day: run this again as often, from cron, or the copy only serves "satpatch apply".`,
  argument: { name: 'DIR', help: 'the directory to fill; what is newer replaces what is there' },
  flags: {
    relay: { value: 'URL', help: 'the relay, or any mirror (default http://localhost:8787)' },
    vendor: { value: 'ID', help: 'the vendor’s id; not needed where the relay serves one vendor' },
    artifact: { value: 'FILE', help: 'a released file to put beside; may be repeated', many: true },
  },
  async run({ argument, flags, json, out }) {
    const relay = relayBaseUrl(flags.text('relay') ?? 'http://localhost:8787')
    if (relay === undefined) throw usage('--relay must be an address such as https://relay.example.')
    const vendor = await vendorAt(relay, flags.text('vendor'))
    const { verified, files } = await collect(relay, vendor)
    const home = join(resolve(argument), 'v', vendor)
    const torrents = await torrentsOf(relay, verified)
    const keys = await keysOf(relay, verified)
    try {
      await mkdir(join(home, 'metadata'), { recursive: true, mode: DIRECTORY_MODE })
      await mkdir(join(home, 'torrents'), { recursive: true, mode: DIRECTORY_MODE })
      for (const [name, bytes] of torrents) await writeDurably(join(home, 'torrents', name), bytes, FILE_MODE)
      if (keys.length > 0) await mkdir(join(home, 'blobs'), { recursive: true, mode: DIRECTORY_MODE })
      for (const [name, bytes] of keys) await writeDurably(join(home, 'blobs', name), bytes, FILE_MODE)
      const artifacts = []
      for (const file of flags.texts('artifact')) artifacts.push(await putArtifact(home, verified, file))
      // The timestamp last: whoever reads meanwhile finds every file that it names.
      for (const [name, bytes] of files) await writeDurably(join(home, 'metadata', name), bytes, FILE_MODE)
      const summary = {
        vendor,
        targetsVersion: verified.targetsVersion,
        releases: verified.releases.length,
        torrents: torrents.length,
        artifacts,
        dir: home,
      }
      if (json) out(JSON.stringify(summary))
      else
        out(
          `${home}: targets ${summary.targetsVersion}, ${summary.releases} releases, ${artifacts.length} artifacts. ` +
            `Fresh until ${verified.current.timestamp.signed.expires}.`,
        )
      return EXIT.ok
    } catch (error) {
      throw error instanceof CliError || errnoOf(error) === undefined ? error : storageError(error, home)
    }
  },
}

async function vendorAt(relay: string, asked: string | undefined): Promise<VendorId> {
  if (asked !== undefined) {
    const vendor = parseSha256Hex(asked)
    if (vendor === undefined) throw usage('--vendor must be a vendor’s id: 64 characters 0-9 and a-f.')
    return vendor
  }
  try {
    const { vendors } = await fetchRelayConfig(relay)
    const [only] = vendors
    if (only !== undefined && vendors.length === 1) return only.id as VendorId
    throw usage(`${relay} serves ${vendors.length} vendors: say which with --vendor ID.`)
  } catch (error) {
    if (error instanceof RelayConfigError)
      throw new CliError(EXIT.failure, `${error.message} Or give --vendor.`)
    throw error
  }
}

/** Just the files that a new client takes, each checked as that client checks it; in the order of its asking, timestamp last. */
async function collect(
  relay: string,
  vendor: VendorId,
): Promise<{ verified: Verified; files: [string, Bytes][] }> {
  const seen = new Map<string, Bytes>()
  const watching: typeof fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : String(input)
    const { signal } = init ?? {}
    const answer = await fetchBounded(fetch, url, {
      maxBytes: LIMITS.targetsBytes,
      ...(signal ? { signal } : {}),
    })
    if (answer.tag !== 'ok')
      throw new TypeError(answer.tag === 'failed' ? answer.text : 'it is longer than any metadata')
    if (answer.status === 200) seen.set(metadataFileName(new URL(url).pathname), answer.bytes)
    return new Response(answer.bytes, { status: answer.status })
  }
  const result = await refresh({
    mirrors: [relay],
    vendor,
    store: memoryStore(),
    nowMs: Date.now(),
    fetch: watching,
  })
  if (result.tag !== 'ok') throw new CliError(EXIT.refused, failureText(result))
  const files = [...seen].sort(([a], [b]) => Number(a === TIMESTAMP) - Number(b === TIMESTAMP))
  return { verified: result.verified, files }
}
const TIMESTAMP = 'timestamp.json'

/**
 * The name of a metadata file on disk: as it stands in the address, percent signs and all. A delegated role may be called
 * `../../x`, and must stay a name.
 */
export function metadataFileName(pathname: string): string {
  const name = basename(pathname)
  if (/^[A-Za-z0-9][A-Za-z0-9._~%-]*$/.test(name)) return name
  throw new CliError(
    EXIT.refused,
    `The mirror names a file ${JSON.stringify(name.slice(0, 80))}, which is no metadata.`,
  )
}

async function torrentsOf(relay: string, verified: Verified): Promise<[string, Bytes][]> {
  const torrents: [string, Bytes][] = []
  for (const release of verified.releases) {
    const fetched = await fetchTorrent([relay], verified.vendor, release.infoHash, fetch)
    if (fetched.tag === 'failed')
      throw new CliError(EXIT.failure, `The torrent of ${release.path}: ${fetched.text}.`)
    try {
      readMetainfo(fetched.bytes, release)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new CliError(EXIT.refused, `The torrent of ${release.path} is not the release’s: ${why}.`)
    }
    torrents.push([`${release.infoHash}.torrent`, fetched.bytes])
  }
  return torrents
}

/** The wrapped keys of confidential releases: a device needs them as it needs metadata. */
async function keysOf(relay: string, verified: Verified): Promise<[string, Bytes][]> {
  const lists: [string, Bytes][] = []
  for (const { path, confidential } of verified.releases) {
    if (!confidential) continue
    const fetched = await fetchKeys([relay], verified.vendor, confidential.keys, fetch)
    if (fetched.tag === 'failed') throw new CliError(EXIT.failure, `The keys of ${path}: ${fetched.text}.`)
    lists.push([confidential.keys.sha256, fetched.bytes])
  }
  return lists
}

/** A file of the vendor's own, by its hash; linked where the file system can, copied where not. */
async function putArtifact(home: string, verified: Verified, file: string): Promise<string> {
  const { size } = await stat(file).catch((error: unknown) => {
    throw storageError(error, file)
  })
  for (const release of verified.releases) {
    if (release.bytes !== size) continue
    if ((await proveFile(release, file)) !== undefined) {
      if (!release.confidential || (await proveFile(plainOf(release), file)) !== undefined) continue
      const text = `${file} is the plain file of ${release.path}, which is encrypted. Give the file that "publish --encrypted-copy" wrote.`
      throw new CliError(EXIT.refused, text)
    }
    const to = join(home, 'artifacts', release.sha256)
    await mkdir(dirname(to), { recursive: true, mode: DIRECTORY_MODE })
    const tmp = temporaryName(to)
    try {
      await link(file, tmp).catch(() => copyFile(file, tmp))
      await rename(tmp, to)
    } finally {
      await rm(tmp, { force: true })
    }
    await syncDirectory(dirname(to))
    return release.path
  }
  throw new CliError(EXIT.refused, `${file} is not the artifact of any release that this vendor has out.`)
}
