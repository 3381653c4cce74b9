/** Devices that buy one release each, one or more in this process. Tells `ready`, `connected`, then `done` when all have everything. */
import { child, type Detail } from '../child.ts'
import { channelBytes, countWebSockets, onConnected } from '../connected.ts'
import { openDeviceBuyer, type BuyerSettings } from '../device-buyer.ts'

export type BuyerConfig = Readonly<{ buyers: readonly BuyerSettings[] }>

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

child<BuyerConfig>(async ({ buyers }, tell) => {
  onConnected((atMs) => tell('connected', {}, atMs))
  const nostr = countWebSockets()
  const opened = await Promise.all(buyers.map(openDeviceBuyer))
  tell('ready', { files: opened.map(({ file }) => file) })
  void Promise.all(opened.map((buyer) => buyer.buy())).then(
    (all) => {
      const [first] = all
      const shown = all.map(({ snapshot }) => snapshot)
      tell('done', {
        paidMsat: sum(shown.map(({ paid }) => paid)),
        payments: sum(shown.map(({ windows }) => windows.length)),
        boughtTwice: sum(shown.map(({ boughtTwice }) => boughtTwice)),
        riskBudgetMsat: first?.config.riskBudget,
      })
    },
    (error: unknown) => tell('failed', { message: String(error) }),
  )
  return {
    answers: { traffic: async (): Promise<Detail> => ({ channels: await channelBytes(), nostr: nostr() }) },
    async stop() {
      await Promise.all(opened.map((buyer) => buyer.close()))
    },
  }
})
