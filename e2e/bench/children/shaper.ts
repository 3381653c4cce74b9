/** The shaper as a process. Tells `ready` with the tracker of each lane and the ports of the forwards; `count` on `usage`. */
import { child } from '../child.ts'
import { openForward } from '../shaper/tcp.ts'
import { openTrackerProxy } from '../shaper/tracker-proxy.ts'
import { Uplink, type UplinkOptions } from '../shaper/uplink.ts'

export type ShaperConfig = Readonly<{
  /** The real tracker. */
  upstream: string
  lanes: readonly UplinkOptions[]
  /** TCP servers on this machine, each behind the lane of that index. */
  forwards: readonly Readonly<{ lane: number; port: number }>[]
}>

child<ShaperConfig>(async ({ upstream, lanes, forwards }, tell) => {
  const uplinks = lanes.map((lane, i) => new Uplink(lane, undefined, undefined, i + 1))
  const proxy = await openTrackerProxy(upstream, uplinks)
  const opened = await Promise.all(
    forwards.map(({ lane, port }) => {
      const uplink = uplinks[lane]
      if (uplink === undefined) throw new RangeError(`no lane ${lane}`)
      return openForward(port, uplink)
    }),
  )
  tell('ready', { trackers: lanes.map((_, i) => proxy.urlOf(i)), ports: opened.map(({ port }) => port) })
  return {
    async stop() {
      for (const { server } of opened) server.close()
      await proxy.close()
    },
    answers: { count: () => ({ lanes: uplinks.map(({ count }) => ({ ...count })) }) },
  }
})
