/** A regtest chain and two real LND nodes with a channel between them, or with a third one between that routes. */
import fs from 'node:fs'
import { request } from 'node:https'
import net from 'node:net'
import path from 'node:path'
import { ProgramError, until, type Program, type Programs } from '../support/processes.ts'
import type { Binaries } from './build.ts'

/** btcd's regtest has segwit some 450 blocks in; before, the funding transaction never confirms. */
const BLOCKS = 500
const CONFIRMATIONS = 6
const CAPACITY_SATS = 16_000_000
const PUSHED_SATS = 8_000_000
const START_TIMEOUT_MS = 180_000
const AGAIN_MS = 250
const RPC_USER = 'lab'

export type Access = Readonly<{ url: string; macaroonFile: string; certFile: string }>
export type LabNode = Access & {
  readonly name: string
  readonly pubkey: string
  /** A GET, or a POST with a body, of its REST interface. */
  ask(path: string, body?: object): Promise<Record<string, unknown>>
  /** SIGKILL, and the same node again; comes back when the channel is active. */
  killAndRestart(whileDown?: () => Promise<void>): Promise<void>
}
export type Lab = Readonly<{
  alice: LabNode
  bob: LabNode
  mine(blocks: number): Promise<void>
}>

/** What the node between the two takes of each payment, as LND takes it by default: 1 sat and a millionth. */
export type Hop = Readonly<{ baseMsat: number; ppm: number }>

type Answer = { status: number; text: string }
type Call = Readonly<{ url: string; ca: string; headers?: Record<string, string>; body?: object }>

/** Which certificate that is, nobody else's: the file is read anew, since LND makes it at its first start. */
function https({ url, ca, headers, body }: Call): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { method: body ? 'POST' : 'GET', ca, ...(headers && { headers }) }
    const asking = request(url, options, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      response.on('error', reject)
    })
    asking.on('error', reject)
    asking.end(body && JSON.stringify(body))
  })
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve) => {
          const server = net.createServer()
          server.listen(0, '127.0.0.1', () => resolve(server))
        }),
    ),
  )
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Starts everything; `programs.stopAll` ends it. With a `hop` payments pass a third node, which takes a fee. */
export async function startLab(dir: string, programs: Programs, binaries: Binaries, hop?: Hop): Promise<Lab> {
  const ports = await freePorts(11)
  const [chainRpc = 0, chainPeer = 0] = ports
  const chain = { dir: path.join(dir, 'btcd'), rpc: chainRpc, peer: chainPeer }
  fs.mkdirSync(chain.dir, { recursive: true })
  // Somebody has to get the coins of the first blocks; an address of LND's is known only after its first start.
  const before = startBtcd(programs, binaries, chain, BURN)
  await rpc(chain, 'generate', [1])
  const lnd = (name: string, at: number): Starting => ({
    ...{ name, dir: path.join(dir, name), binary: binaries.lnd, programs, chain },
    ...{ rpc: ports[at] ?? 0, rest: ports[at + 1] ?? 0, peer: ports[at + 2] ?? 0 },
  })
  const first = lnd('alice', 2)
  let running = startLnd(first)
  const { address } = await answering(first, '/v1/newaddress?type=0')
  await running.stop()
  await before.stop()
  startBtcd(programs, binaries, chain, String(address))
  await until('btcd', START_TIMEOUT_MS, () => rpc(chain, 'getblockcount', []).catch(() => undefined))
  await rpc(chain, 'generate', [BLOCKS])
  running = startLnd(first)
  const second = lnd('bob', 5)
  const other = startLnd(second)
  const [alice, bob] = [await nodeOf(first, running), await nodeOf(second, other)]
  const mine = async (blocks: number): Promise<void> => void (await rpc(chain, 'generate', [blocks]))
  if (hop) {
    const third: Starting = { ...lnd('carol', 8), hop }
    const carol = await nodeOf(third, startLnd(third))
    await giveCoins(alice, carol, mine)
    await openChannel(alice, carol, third.peer, mine)
    await openChannel(carol, bob, second.peer, mine)
    await routeKnown(alice, bob)
  } else await openChannel(alice, bob, second.peer, mine)
  return { alice, bob, mine }
}

/** A regtest address of nobody: the hash of nothing. */
const BURN = 'bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202'

type Chain = Readonly<{ dir: string; rpc: number; peer: number }>
type Starting = Readonly<{
  name: string
  dir: string
  binary: string
  programs: Programs
  chain: Chain
  rpc: number
  rest: number
  peer: number
  hop?: Hop
}>

const startBtcd = (programs: Programs, { btcd }: Binaries, chain: Chain, address: string): Program =>
  programs.other('btcd', btcd, [
    ...['--regtest', `--datadir=${chain.dir}/data`, `--logdir=${chain.dir}/logs`, '--txindex', '--nobanning'],
    ...[`--rpcuser=${RPC_USER}`, `--rpcpass=${RPC_USER}`, `--rpccert=${chain.dir}/rpc.cert`],
    ...[
      `--rpckey=${chain.dir}/rpc.key`,
      `--rpclisten=127.0.0.1:${chain.rpc}`,
      `--listen=127.0.0.1:${chain.peer}`,
    ],
    ...[`--miningaddr=${address}`, `--configfile=${chain.dir}/none.conf`],
  ])

/** Asked again until btcd answers. @throws ProgramError for its refusals */
async function rpc(chain: Chain, method: string, params: readonly unknown[]): Promise<unknown> {
  const body = { jsonrpc: '1.0', id: 1, method, params }
  const token = Buffer.from(`${RPC_USER}:${RPC_USER}`).toString('base64')
  const answer = await until(
    'btcd to answer',
    START_TIMEOUT_MS,
    async () => {
      try {
        const ca = fs.readFileSync(`${chain.dir}/rpc.cert`, 'utf8')
        return await https({
          ...{ url: `https://127.0.0.1:${chain.rpc}/`, ca, body },
          headers: { authorization: `Basic ${token}`, 'content-type': 'application/json' },
        })
      } catch {
        return undefined
      }
    },
    undefined,
    AGAIN_MS,
  )
  const { result, error } = JSON.parse(answer.text) as { result: unknown; error: { message: string } | null }
  if (error) throw new ProgramError(`btcd refuses ${method}: ${error.message}`)
  return result
}

const startLnd = ({ name, dir, binary, programs, chain, hop, ...ports }: Starting): Program =>
  programs.other(name, binary, [
    ...[`--lnddir=${dir}`, '--bitcoin.regtest', '--bitcoin.node=btcd', '--noseedbackup', `--alias=${name}`],
    ...[`--btcd.rpchost=127.0.0.1:${chain.rpc}`, `--btcd.rpcuser=${RPC_USER}`, `--btcd.rpcpass=${RPC_USER}`],
    ...[`--btcd.rpccert=${chain.dir}/rpc.cert`, `--rpclisten=127.0.0.1:${ports.rpc}`],
    ...[`--restlisten=127.0.0.1:${ports.rest}`, `--listen=127.0.0.1:${ports.peer}`, '--nobootstrap'],
    ...['--accept-keysend', '--bitcoin.defaultchanconfs=1', '--debuglevel=info', '--trickledelay=200'],
    ...(hop ? [`--bitcoin.basefee=${hop.baseMsat}`, `--bitcoin.feerate=${hop.ppm}`] : []),
  ])

const accessOf = ({ dir, rest }: Starting): Access => ({
  url: `https://127.0.0.1:${rest}`,
  macaroonFile: path.join(dir, 'data/chain/bitcoin/regtest/admin.macaroon'),
  certFile: path.join(dir, 'tls.cert'),
})

/** One question, asked until the node answers it. */
const answering = (of: Starting, what: string): Promise<Record<string, unknown>> =>
  until(
    `${of.name} to answer`,
    START_TIMEOUT_MS,
    () => askNode(of, what).catch(() => undefined),
    undefined,
    AGAIN_MS,
  )

async function askNode(of: Starting, what: string, body?: object): Promise<Record<string, unknown>> {
  const { url, macaroonFile, certFile } = accessOf(of)
  const macaroon = fs.readFileSync(macaroonFile).toString('hex')
  const ca = fs.readFileSync(certFile, 'utf8')
  const answer = await https({
    ...{ url: url + what, ca, headers: { 'Grpc-Metadata-macaroon': macaroon } },
    ...(body && { body }),
  })
  if (answer.status !== 200) throw new ProgramError(`${of.name} refuses ${what}: ${answer.text}`)
  return JSON.parse(answer.text) as Record<string, unknown>
}

async function nodeOf(of: Starting, program: Program): Promise<LabNode> {
  let running = program
  const synced = (): Promise<Record<string, unknown>> =>
    until(
      `${of.name} to be synced`,
      START_TIMEOUT_MS,
      async () => {
        const info = await askNode(of, '/v1/getinfo').catch(() => undefined)
        return info?.['synced_to_chain'] === true ? info : undefined
      },
      () => running.tail(),
      AGAIN_MS,
    )
  const info = await synced()
  const access = accessOf(of)
  const ask: LabNode['ask'] = (what, body) => askNode(of, what, body)
  return {
    ...access,
    name: of.name,
    pubkey: String(info['identity_pubkey']),
    ask,
    async killAndRestart(whileDown) {
      running.kill('SIGKILL')
      await running.exited
      await whileDown?.()
      running = startLnd(of)
      await synced()
      await active(ask, of.name)
    },
  }
}

const active = (ask: LabNode['ask'], name: string): Promise<true> =>
  until(`${name}'s channel`, START_TIMEOUT_MS, async () => {
    const { channels } = (await ask('/v1/channels').catch(() => ({ channels: [] }))) as {
      channels: { active: boolean }[]
    }
    return channels.length > 0 && channels.every((channel) => channel.active) ? true : undefined
  })

type Mine = Lab['mine']

const coinsOf = (node: LabNode, sats: number): Promise<true> =>
  until(`${node.name}'s coins`, START_TIMEOUT_MS, async () => {
    const { confirmed_balance } = await node.ask('/v1/balance/blockchain')
    return Number(confirmed_balance) > sats ? true : undefined
  })

/** Coins for a channel of the other's own. */
async function giveCoins(from: LabNode, to: LabNode, mine: Mine): Promise<void> {
  await coinsOf(from, 3 * CAPACITY_SATS)
  const { address } = await to.ask('/v1/newaddress?type=0')
  await from.ask('/v1/transactions', { addr: address, amount: String(2 * CAPACITY_SATS), sat_per_vbyte: '2' })
  await mine(CONFIRMATIONS)
}

async function openChannel(from: LabNode, to: LabNode, peerPort: number, mine: Mine): Promise<void> {
  await coinsOf(from, CAPACITY_SATS)
  const addr = { pubkey: to.pubkey, host: `127.0.0.1:${peerPort}` }
  await from.ask('/v1/peers', { addr })
  const opening = {
    node_pubkey: Buffer.from(to.pubkey, 'hex').toString('base64'),
    ...{ local_funding_amount: String(CAPACITY_SATS), push_sat: String(PUSHED_SATS), sat_per_vbyte: '2' },
  }
  await until('the channel to open', START_TIMEOUT_MS, () =>
    from.ask('/v1/channels', opening).catch(() => undefined),
  )
  await mine(CONFIRMATIONS)
  await Promise.all([from, to].map(({ ask, name }) => active(ask, name)))
}

/** Asked of a sum whose fee is within LND's own limit, whatever a hop takes. */
const ASKED_SATS = 100_000

/** Gossip takes a while to tell of the channel that is not the payer's own. */
const routeKnown = (from: LabNode, to: LabNode): Promise<unknown> =>
  until('a route', START_TIMEOUT_MS, () =>
    from.ask(`/v1/graph/routes/${to.pubkey}/${ASKED_SATS}`).catch(() => undefined),
  )
