/** A relay as it runs for people: tracker, Nostr, mirror and wallet service in one process. Tells `ready`. */
import { createLog } from '../../../device/log.ts'
import { startRelay } from '../../../relay/relay.ts'
import { child } from '../child.ts'
import { beforePay, type Pace } from '../pace.ts'

export type HouseConfig = Readonly<{ dataDir: string; pace: Pace; grantMsat: number }>

const ACCOUNTS_PER_ADDRESS = 100_000

child<HouseConfig>(async ({ dataDir, pace, grantMsat }, tell) => {
  const paying = beforePay(pace)
  const relay = await startRelay({
    port: 0,
    host: '127.0.0.1',
    dataDir,
    iceServers: [],
    log: createLog('warn'),
    openAccounts: { grantMsat, perAddress: ACCOUNTS_PER_ADDRESS },
    ...(paying === undefined ? {} : { beforePay: paying }),
  })
  tell('ready', { url: relay.url, admissionLink: relay.admissionLink })
  return { stop: () => relay.stop() }
})
