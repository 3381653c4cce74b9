/** The Lightning node of `--lnd`: its files read, its first word heard, what is wrong said in words. */
import { readFile } from 'node:fs/promises'
import { openLnd } from './wallet/lnd/lnd.ts'
import { NodeError, type LightningNode, type NodeStatus } from './wallet/node.ts'
import { StartError } from './errors.ts'

export type LndSettings = Readonly<{
  /** LND's REST address, `https://host:8080`. */
  url: string
  /** The macaroon in hex, or the file that it is in. */
  macaroon: string
  /** LND's `tls.cert`: the only certificate that is trusted. Without it, those that the system trusts. */
  certFile?: string
  /** What the owner's account has been given of the node's sats in all. */
  ownerMsat?: number
}>

const MACAROON_HEX = /^([0-9a-f]{2}){40,2000}$/i

/** @throws StartError `lightning` */
export async function openLightning(
  settings: LndSettings,
): Promise<{ node: LightningNode; status: NodeStatus }> {
  const { url, macaroon, certFile } = settings
  const macaroonHex = MACAROON_HEX.test(macaroon)
    ? macaroon
    : (await fileOf(macaroon, "LND's macaroon")).toString('hex')
  if (!MACAROON_HEX.test(macaroonHex)) throw new StartError('lightning', `${macaroon} is no macaroon of LND.`)
  const certificate = certFile && (await fileOf(certFile, "LND's certificate")).toString('utf8')
  if (certificate !== undefined && !certificate.includes('-----BEGIN CERTIFICATE-----'))
    throw new StartError('lightning', `${certFile} is no certificate in PEM form; give LND's tls.cert.`)
  let node: LightningNode | undefined
  try {
    node = openLnd({ url, macaroonHex, ...(certificate !== undefined && { certificate }) })
    return { node, status: await node.status() }
  } catch (cause) {
    node?.close()
    if (!(cause instanceof NodeError)) throw cause
    const untold = certFile === undefined && cause.code === 'wrong-certificate'
    const hint = untold ? ' It goes with --lnd-cert.' : ''
    throw new StartError('lightning', `${cause.message}${hint} The relay was not started.`, { cause })
  }
}

async function fileOf(path: string, what: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new StartError('lightning', `${what} cannot be read from ${path}. Check path and permissions.`, {
      cause,
    })
  }
}
