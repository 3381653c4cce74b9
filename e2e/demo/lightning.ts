/** `--lnd`: two real LND nodes on a regtest chain; who buys has sats of the one, who sells of the other. */
import path from 'node:path'
import { createPrograms } from '../support/processes.ts'
import { buildBinaries, builtBinaries, findGo } from '../lnd-lab/build.ts'
import { flagsOf } from '../lnd-lab/lab.ts'
import { htlcsBetween, type Htlcs } from '../lnd-lab/books.ts'
import { startLab } from '../lnd-lab/nodes.ts'
import { UsageError } from './flags.ts'

/** What the owner of the buyers' node has to give away. */
const OWN_SATS = 5_000_000
const HOP_PPM = 1000

export type Lightning = Readonly<{
  buyers: readonly string[]
  sellers: readonly string[]
  /** What both nodes themselves have settled so far. */
  htlcs(): Promise<Htlcs>
  stop(): Promise<void>
}>

/** @throws UsageError where there is no Go to build the nodes with */
export async function startLightning(
  dir: string,
  hopMsat: number | undefined,
  say: (line: string) => void,
): Promise<Lightning> {
  const go = findGo()
  if (go.tag === 'absent' && !builtBinaries())
    throw new UsageError(`${go.why} The demo runs with play money without --lnd.`)
  const binaries = await buildBinaries(say)
  const programs = createPrograms(path.join(dir, 'logs'))
  const hop = hopMsat === undefined ? undefined : { baseMsat: hopMsat, ppm: HOP_PPM }
  say(`Starting btcd, and ${hop ? 'three LND nodes in a row' : 'two LND nodes with a channel'}…`)
  try {
    const { alice, bob } = await startLab(path.join(dir, 'lightning'), programs, binaries, hop)
    return {
      buyers: [...flagsOf(alice), '--lnd-own', String(OWN_SATS)],
      sellers: flagsOf(bob),
      htlcs: () => htlcsBetween(alice, bob),
      stop: () => programs.stopAll(),
    }
  } catch (error) {
    await programs.stopAll()
    throw error
  }
}
