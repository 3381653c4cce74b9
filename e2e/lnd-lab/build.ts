/** Builds the pinned LND and btcd out of the repository, once; where Go is absent or too old, says so. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root, run } from '../support/run.ts'

const GO_MINOR = [1, 25] as const
const TAGS = 'invoicesrpc routerrpc signrpc walletrpc chainrpc'
const MODULES = ['github.com/btcsuite/btcd', 'github.com/lightningnetwork/lnd/cmd/lnd'] as const
const BUILD_TIMEOUT_MS = 60 * 60_000

export type Binaries = Readonly<{ btcd: string; lnd: string }>
export type Go = { tag: 'found'; path: string } | { tag: 'absent'; why: string }

const here = path.join(root, 'e2e/lnd-lab')

export function findGo(): Go {
  const found = ['go', '/usr/local/go/bin/go'].flatMap((command) => {
    try {
      const said = execFileSync(command, ['env', 'GOVERSION'], { encoding: 'utf8', env: goEnv() })
      return [{ command, version: said.trim() }]
    } catch {
      return []
    }
  })
  const [best] = found
  if (!best) return { tag: 'absent', why: 'Go is not installed (1.25.10 or later is needed to build LND).' }
  const usable = found.find(({ version }) => {
    const [major = 0, minor = 0] = version.replace(/^go/, '').split('.').map(Number)
    return major > GO_MINOR[0] || (major === GO_MINOR[0] && minor >= GO_MINOR[1])
  })
  if (!usable)
    return { tag: 'absent', why: `Go is ${best.version}; 1.25.10 or later is needed to build LND.` }
  return { tag: 'found', path: usable.command }
}

/** The Go that is here, or none: it fetches no other one. */
const goEnv = (): NodeJS.ProcessEnv => ({ ...process.env, GOTOOLCHAIN: 'local' })

/** Where the programs are, or would be: named by what they are built from. */
function placeOf(): Binaries {
  const sum = createHash('sha256').update(TAGS)
  for (const name of ['go.mod', 'go.sum']) sum.update(fs.readFileSync(path.join(here, name)))
  const cache = process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache')
  const dir = path.join(cache, 'satpatch', `lnd-lab-${sum.digest('hex').slice(0, 16)}`)
  return { btcd: path.join(dir, 'btcd'), lnd: path.join(dir, 'lnd') }
}

/** What an earlier run has built. */
export function builtBinaries(): Binaries | undefined {
  const place = placeOf()
  return fs.existsSync(place.btcd) && fs.existsSync(place.lnd) ? place : undefined
}

/** What is built, or why there is nothing; builds nothing. */
export function binariesOrWhy(): { tag: 'found'; binaries: Binaries } | { tag: 'absent'; why: string } {
  const binaries = builtBinaries()
  if (binaries) return { tag: 'found', binaries }
  const go = findGo()
  const why = go.tag === 'absent' ? go.why : 'LND is not built yet; npm run lab:lnd builds it.'
  return { tag: 'absent', why }
}

/** @throws Error in words */
export async function buildBinaries(say: (line: string) => void): Promise<Binaries> {
  const built = builtBinaries()
  if (built) return built
  const go = findGo()
  if (go.tag === 'absent') throw new Error(go.why)
  const place = placeOf()
  const dir = path.dirname(place.lnd)
  const building = `${dir}.${process.pid}`
  fs.mkdirSync(building, { recursive: true })
  say('Building btcd and LND from their Go modules: some ten minutes, once…')
  const args = ['-C', here, 'build', '-tags', TAGS, '-o', `${building}/`, ...MODULES]
  const ended = await run(go.path, args, { timeoutMs: BUILD_TIMEOUT_MS, env: goEnv(), onLine: say })
  if (ended.code !== 0) throw new Error(`LND and btcd could not be built:\n${ended.output.slice(-2000)}`)
  fs.mkdirSync(dir, { recursive: true })
  for (const name of ['btcd', 'lnd']) fs.renameSync(path.join(building, name), path.join(dir, name))
  fs.rmdirSync(building)
  return place
}
