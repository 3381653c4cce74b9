/** `satpatch device run` and `satpatch device status`. */
import { join, resolve } from 'node:path'
import type { PartyKey } from '../../web/core/bytes.ts'
import { releaseName } from '../../web/core/release/target.ts'
import { deviceCode } from '../../web/core/rollout/join.ts'
import { newRecord } from '../../web/core/rollout/lifecycle-device.ts'
import type { Job } from '../../web/core/rollout/lifecycle.ts'
import { loadCheats } from '../../web/edge/swarm/cheat-records.ts'
import { readJournal } from '../storage/journal.ts'
import { readConfig } from '../config/config.ts'
import { kioskAddress, KIOSK_WANTED, type KioskAddress } from '../config/kiosk-address.ts'
import { tradeFlags, withTradeFlags } from '../config/trade.ts'
import { readJoinState } from '../run/join-state.ts'
import { feesSum, paidRecords, paidSum } from '../run/receipts.ts'
import { proofsDir } from '../run/proofs.ts'
import { readRecord } from '../run/record.ts'
import { readRefused } from '../run/refused.ts'
import { mirrorBytesOf, soldOf } from '../run/sums.ts'
import { shownJob, standing, versionsOf } from '../run/view.ts'
import { EXIT, stopSignal, usage, type Command, type Flags } from './command.ts'
import { isExposed } from './secret-input.ts'

/** The others are in `--json`. */
const SHOWN_REFUSED = 3

const configFlag = { value: 'FILE', help: 'the device’s file (default device.toml)' } as const

export const deviceRunCommand: Command = {
  verb: 'device run',
  summary: 'Runs the device: buys, verifies, installs and reports what its vendor signed.',
  about: `
Stops cleanly on SIGTERM and SIGINT; cut off at any moment, the next start goes on where it was. SIGHUP: look at
the mirrors now.`,
  flags: {
    config: configFlag,
    kiosk: { value: 'ADDRESS', help: 'a page for the device’s own screen, such as 127.0.0.1:8788' },
    ...tradeFlags,
  },
  async run({ flags, log, out, json }) {
    const file = resolve(flags.text('config') ?? 'device.toml')
    const kept = await readConfig(file)
    const config = {
      ...kept,
      kiosk: kioskFlag(flags) ?? kept.kiosk,
      trade: withTradeFlags(kept.trade, flags),
    }
    if (await isExposed(file)) log.warn(`others can read ${file}, which holds keys: chmod 600 ${file}`)
    const [{ runDevice }, { realPorts }, { openKiosk }] = await Promise.all([
      import('../run/run-device.ts'),
      import('../run/real-ports.ts'),
      import('../kiosk/run.ts'),
    ])
    const stopped = stopSignal()
    const device = await runDevice({ config, log, ports: realPorts })
    process.on('SIGHUP', device.look)
    const kiosk = await openKiosk(config, device, log.child({ part: 'kiosk' }))
    out(
      json
        ? JSON.stringify({ key: device.key, name: config.name, kiosk: kiosk?.url })
        : `${config.name} runs, key: ${device.key}`,
    )
    if (kiosk !== undefined && !json) out(`Its page, on this machine only: ${kiosk.url}`)
    log.info({ signal: await stopped }, 'stopping')
    await kiosk?.stop()
    await device.stop()
    return EXIT.ok
  },
}

/** @throws CliError */
function kioskFlag(flags: Flags): KioskAddress | undefined {
  const text = flags.text('kiosk')
  if (text === undefined) return undefined
  const address = kioskAddress(text)
  if (address === undefined) throw usage(`--kiosk must be ${KIOSK_WANTED}: the page is for nobody else.`)
  return address
}

export const deviceStatusCommand: Command = {
  verb: 'device status',
  summary: 'Says what the device does, and why it waits; exit code 4 while it waits.',
  flags: { config: configFlag },
  async run({ flags, json, out }) {
    const config = await readConfig(resolve(flags.text('config') ?? 'device.toml'))
    const key: PartyKey = config.identity.key
    const joining = await readJoinState(config.dataDir)
    const accepted = joining === undefined || joining.acceptedAt !== null
    const record = await readRecord(config.dataDir)
    const known = record ?? newRecord(config.vendor)
    const job = shownJob(known)
    const { state, reason } = standing(known, key, accepted)
    const why = record === undefined && accepted ? 'the device has not run yet: satpatch device run' : reason
    const paid = job === undefined ? [] : await paidOf(config.dataDir, job)
    const status = {
      name: config.name,
      key,
      code: deviceCode(key),
      vendor: config.vendor,
      accepted,
      state,
      ...(why === undefined ? {} : { reason: why }),
      ...(job === undefined
        ? {}
        : { release: { path: job.release.path, sha256: job.release.sha256, bytes: job.release.bytes } }),
      paidMsat: paidSum(paid),
      feesMsat: feesSum(paid),
      receipts: paid.length,
      cheats: (await cheatsOf(config.dataDir)).map(({ key, from, paid: paidMsat }) => ({
        key,
        from,
        paidMsat,
      })),
      sold: await soldOf(readJournal(join(config.dataDir, 'journal'))),
      mirrorBytes:
        job === undefined
          ? 0
          : await mirrorBytesOf(readJournal(join(config.dataDir, 'journal')), job.release),
      installed: versionsOf(known),
      refused: await readRefused(config.dataDir),
      dataDir: config.dataDir,
    }
    if (json) out(JSON.stringify(status))
    else {
      out(`${status.name}   code ${status.code}`)
      out(
        `  ${job === undefined ? '' : `${releaseName(job.release)}: `}${state}${why === undefined ? '' : `: ${why}`}`,
      )
      if (paid.length > 0)
        out(`  paid ${(status.paidMsat + status.feesMsat) / 1000} sats in ${paid.length} windows`)
      if (status.sold.pieces > 0)
        out(`  resold ${status.sold.pieces} pieces for ${status.sold.earned / 1000} sats`)
      if (status.mirrorBytes > 0)
        out(`  ${status.mirrorBytes} bytes came from an HTTP mirror (setting: ${config.trade.mirror})`)
      const installed = Object.entries(status.installed).map(([product, version]) => `${product} ${version}`)
      if (status.cheats.length > 0)
        out(
          `  never buys again from ${status.cheats.length} proven cheats; proofs in ${proofsDir(config.dataDir)}`,
        )
      for (const { attack, from, count, text } of status.refused.slice(0, SHOWN_REFUSED))
        out(`  refused ${count} times, ${attack} from ${from}: ${text}`)
      out(`  installed: ${installed.length === 0 ? 'nothing yet' : installed.join(', ')}`)
      out(`  key ${key}`)
    }
    const waits = state === 'queued' || (state === 'announced' && why !== undefined)
    return waits ? EXIT.waiting : EXIT.ok
  },
}

const cheatsOf = (dataDir: string) => loadCheats(readJournal(join(dataDir, 'journal')))

async function paidOf(dataDir: string, job: Job) {
  const journal = readJournal(join(dataDir, 'journal'))
  return (await paidRecords(journal, job.release)).map((record) => record.row)
}
