/**
 * Makes a fresh clone runnable, then hands over. Plain JavaScript without dependencies, because it runs
 * on the system's Node before anything is installed.
 *
 *   node device/setup.mjs [--build] run FILE.ts ARGS…   run one of our programs on Node 24
 *   node device/setup.mjs [--build] bin NAME ARGS…      run a tool from node_modules/.bin
 *
 * `--build` also builds the PWA into dist/web when its sources changed. Everything said here goes to
 * stderr, so that the program's stdout stays its own.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEVICE_FLAGS, NODE_FLAGS, nodeEnv } from './node-settings.mjs'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const modules = path.join(root, 'node_modules')
const bins = path.join(modules, '.bin')
const stamp = path.join(modules, '.satpatch-lock')
const webStamp = path.join(root, '.cache', 'web-inputs')
const installLock = path.join(root, '.cache', 'installing')

const OLDEST_NODE = 20
const OUR_NODE = 24
const INSTALL_WAIT_MS = 10 * 60_000
/** What the build of the PWA reads. */
const WEB_INPUTS = ['web', 'vite.config.ts', 'tsconfig.json', 'package-lock.json']

const say = (text) => process.stderr.write(`${text}\n`)
const major = (version) => Number(version.split('.')[0])
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const read = (file) => {
  try {
    return fs.readFileSync(file)
  } catch {
    return undefined
  }
}

/** Something that the person in front of the terminal has to do; printed without a stack. */
class SetupError extends Error {}

/** Runs `main` with friendly errors. */
export async function launch(args) {
  try {
    if (major(process.versions.node) < OLDEST_NODE)
      throw new SetupError(
        `Satpatch needs Node ${OLDEST_NODE} or newer to set itself up; this is Node ${process.versions.node}.\n` +
          `Install a newer one (Debian 12 and later have it: apt-get install nodejs npm), then run the command again.`,
      )
    await main(args)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    say(`\n${error.message}`)
    process.exitCode = 1
  }
}

async function main(args) {
  const build = args[0] === '--build'
  if (build) args = args.slice(1)
  const [verb, target, ...rest] = args
  if ((verb !== 'run' && verb !== 'bin') || target === undefined)
    throw new SetupError('Usage: node device/setup.mjs [--build] run FILE.ts ARGS… | bin NAME ARGS…')
  await ensureInstalled()
  const node = findNode()
  if (build) await ensureBuilt(node)
  const file = verb === 'run' ? path.resolve(root, target) : path.join(bins, target)
  if (!fs.existsSync(file)) throw new SetupError(`There is no ${path.relative(process.cwd(), file)} to run.`)
  const flags = verb === 'run' && rest[0] === 'device' ? [...NODE_FLAGS, ...DEVICE_FLAGS] : NODE_FLAGS
  await handOver(node, [...flags, file, ...rest])
}

// ── Installing ──────────────────────────────────────────────────────────────────────────────────────

async function ensureInstalled() {
  const lockFile = read(path.join(root, 'package-lock.json'))
  // Installed as somebody's dependency: npm has put our packages where they belong.
  if (lockFile === undefined) return
  const wanted = sha256(lockFile)
  if (isFresh(wanted, lockFile)) return
  const unlock = await takeInstallLock()
  try {
    if (isFresh(wanted, lockFile)) return // another process has just done it
    await install(lockFile)
    writeStamp(wanted)
  } finally {
    unlock()
  }
}

function isFresh(wanted, lockFile) {
  if (read(stamp)?.toString() === wanted) return true
  if (!matchesLock(lockFile)) return false
  writeStamp(wanted) // npm itself was used: nothing to do
  return true
}

const writeStamp = (wanted) => {
  try {
    fs.writeFileSync(stamp, wanted)
  } catch {
    // A read-only checkout only loses the shortcut.
  }
}

/** Whether what npm noted as installed (node_modules/.package-lock.json) is what the lock file asks for. */
function matchesLock(lockFile) {
  const hidden = read(path.join(modules, '.package-lock.json'))
  if (hidden === undefined) return false
  try {
    const installed = JSON.parse(hidden.toString()).packages
    const asked = JSON.parse(lockFile.toString()).packages
    for (const [where, entry] of Object.entries(asked)) {
      if (where === '') continue
      const got = installed[where]
      if (got === undefined && (entry.optional || entry.devOptional || entry.peer)) continue
      if (got === undefined || got.version !== entry.version || got.integrity !== entry.integrity)
        return false
    }
    return true
  } catch {
    return false
  }
}

/** One install at a time for one checkout; a lock whose owner is gone is taken over. */
async function takeInstallLock() {
  fs.mkdirSync(path.dirname(installLock), { recursive: true })
  const until = Date.now() + INSTALL_WAIT_MS
  let told = false
  for (;;) {
    try {
      fs.writeFileSync(installLock, String(process.pid), { flag: 'wx' })
      return () => fs.rmSync(installLock, { force: true })
    } catch (error) {
      if (error.code !== 'EEXIST') throw new SetupError(`${root} cannot be written to (${error.code}).`)
    }
    const owner = Number(read(installLock)?.toString())
    if (!isAlive(owner)) {
      fs.rmSync(installLock, { force: true })
      continue
    }
    if (!told) say(`Waiting for process ${owner}, which is installing…`)
    told = true
    if (Date.now() > until)
      throw new SetupError(`Process ${owner} has been installing for 10 minutes. Stop it and run again.`)
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
}

function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

async function install(lockFile) {
  refuseForeignPlatform()
  const total = Object.keys(JSON.parse(lockFile.toString()).packages).length
  say(`Installing what Satpatch needs: up to ${total} packages, once (a minute or so on a usual line).`)
  // npm empties node_modules: it must not run on the Node that lies in there.
  const PATH = (process.env.PATH ?? '')
    .split(path.delimiter)
    .filter((dir) => path.resolve(dir) !== bins)
    .join(path.delimiter)
  const env = { ...process.env, PATH }
  const npm = [
    'ci',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=http',
    '--include=optional',
    '--include=dev',
  ]
  const started = Date.now()
  const tail = []
  let done = 0
  let shown = 0
  const child = spawn('npm', npm, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const show = (force) => {
    const now = Date.now()
    if (!force && now - shown < (process.stderr.isTTY ? 200 : 10_000)) return
    shown = now
    const seconds = Math.round((now - started) / 1000)
    const what = done < total ? `${done} of at most ${total} fetched` : 'all fetched, unpacking'
    process.stderr.write(
      process.stderr.isTTY ? `\r\x1b[2K  ${what}, ${seconds} s ` : `  ${what}, ${seconds} s\n`,
    )
  }
  const ticking = setInterval(() => show(false), 1000)
  const onLine = (line) => {
    if (/npm http (fetch|cache)/.test(line)) done++
    else if (line.trim() !== '') tail.push(line)
    if (tail.length > 30) tail.shift()
    show(false)
  }
  lines(child.stdout, onLine)
  lines(child.stderr, onLine)
  const code = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.code ?? 'error'))
    child.on('close', (status, signal) => resolve(signal ?? status))
  })
  clearInterval(ticking)
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
  if (code === 0) return say(`Installed in ${Math.round((Date.now() - started) / 1000)} s.`)
  throw new SetupError(explainInstall(code, tail))
}

function explainInstall(code, tail) {
  const text = tail.join('\n')
  if (code === 'ENOENT')
    return 'npm was not found. Install it (Debian: apt-get install npm), then run the command again.'
  if (/EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|ECONNRESET|FETCH_ERROR/.test(text))
    return `npm could not reach its registry: no network, or a proxy is missing (npm config set proxy …).\nNothing is broken: run the command again when the network is there.\n\n${text}`
  if (/ENOSPC/.test(text))
    return `The disk is full: Satpatch needs about 700 MB. Make room and run again.\n\n${text}`
  if (/EACCES|EPERM|EROFS/.test(text)) return `${root} cannot be written to by this user.\n\n${text}`
  return `npm ci failed (${code}). What it said last:\n\n${text}`
}

function lines(stream, run) {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk) => {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop() ?? ''
    parts.forEach(run)
  })
  stream.on('end', () => rest !== '' && run(rest))
}

// ── Node 24 ─────────────────────────────────────────────────────────────────────────────────────────

const platform = `${os.platform()}-${os.arch()}`
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-arm64']

function refuseForeignPlatform() {
  if (!PLATFORMS.includes(platform) && major(process.versions.node) < OUR_NODE)
    throw new SetupError(
      `There is no packaged Node ${OUR_NODE} for ${platform} (there is for ${PLATFORMS.join(', ')}).\n` +
        `Install Node ${OUR_NODE} yourself and run the command with it.`,
    )
  if (os.platform() === 'linux' && process.report.getReport().header.glibcVersionRuntime === undefined)
    throw new SetupError(
      'This Linux uses musl (Alpine?); the packaged Node and the WebRTC library are built for glibc.\nUse a Debian-based system or image.',
    )
}

function findNode() {
  // From here upwards: also right when we are installed as somebody's dependency.
  for (let dir = root; ; dir = path.dirname(dir)) {
    const node = path.join(dir, 'node_modules', `node-${platform}`, 'bin', 'node')
    if (fs.existsSync(node)) return node
    if (dir === path.dirname(dir)) break
  }
  if (major(process.versions.node) >= OUR_NODE) return process.execPath
  throw new SetupError(
    `Node ${OUR_NODE} is not there: npm left out the optional package node-${platform}.\n` +
      `Remove node_modules and run the command again, or install Node ${OUR_NODE} yourself.`,
  )
}

// ── The PWA ─────────────────────────────────────────────────────────────────────────────────────────

function* filesUnder(file) {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isDirectory()) return yield file
  for (const name of fs.readdirSync(file).sort()) yield* filesUnder(path.join(file, name))
}

function webInputs() {
  const hash = createHash('sha256')
  for (const input of WEB_INPUTS)
    for (const file of filesUnder(path.join(root, input)))
      if (!file.endsWith('.test.ts'))
        hash.update(`${path.relative(root, file)}\0`).update(fs.readFileSync(file))
  return hash.digest('hex')
}

async function ensureBuilt(node) {
  const inputs = webInputs()
  const built = fs.existsSync(path.join(root, 'dist', 'web', 'index.html'))
  if (built && read(webStamp)?.toString() === inputs) return
  say('Building the web app…')
  const started = Date.now()
  const tail = []
  const child = spawn(node, [...NODE_FLAGS, path.join(bins, 'vite'), 'build'], {
    cwd: root,
    env: withBins(process.env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const keep = (line) => {
    if (line.trim() !== '') tail.push(line)
    if (tail.length > 40) tail.shift()
  }
  lines(child.stdout, keep)
  lines(child.stderr, keep)
  const code = await new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (status, signal) => resolve(signal ?? status))
  })
  if (code !== 0) throw new SetupError(`The web app did not build (${code}):\n\n${tail.join('\n')}`)
  fs.mkdirSync(path.dirname(webStamp), { recursive: true })
  fs.writeFileSync(webStamp, inputs)
  say(`Built in ${Math.round((Date.now() - started) / 1000)} s.`)
}

// ── Handing over ────────────────────────────────────────────────────────────────────────────────────

const withBins = (env) => ({ ...env, PATH: `${bins}${path.delimiter}${env.PATH ?? ''}` })

/** Becomes `node args…`: signals, terminal and exit code are the program's own. */
async function handOver(node, args) {
  const env = nodeEnv(withBins(process.env), modules)
  if (typeof process.execve === 'function' && os.platform() !== 'win32') {
    process.removeAllListeners('warning') // execve is experimental in Node 24 and says so
    process.execve(node, [node, ...args], env)
  }
  const child = spawn(node, args, { env, stdio: 'inherit' })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']
  for (const signal of signals)
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the whole group already; twice would mean "at once".
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
    })
  await new Promise((resolve, reject) => {
    child.on('error', (error) =>
      reject(new SetupError(`${node} did not start (${error.code}). Remove node_modules and run again.`)),
    )
    child.on('close', (code, signal) => {
      if (signal !== null) {
        for (const name of signals) process.removeAllListeners(name)
        process.kill(process.pid, signal)
      }
      process.exitCode = code ?? 1
      resolve()
    })
  })
}

const invoked = process.argv[1] === undefined ? '' : fs.realpathSync(process.argv[1])
if (invoked === fileURLToPath(import.meta.url)) await launch(process.argv.slice(2))
