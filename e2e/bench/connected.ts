/** When the first data channel of this process opened: the moment from which both contenders are timed. */
import Peer from '@thaunknown/simple-peer/lite.js'
import { nowMs } from './child.ts'

/** Calls back once. To be called before any peer is made. */
export function onConnected(run: (atMs: number) => void): void {
  const { prototype } = Peer
  const emit = prototype.emit
  let met = false
  prototype.emit = function (this: typeof prototype, event: string, ...values: never[]) {
    if (event === 'connect' && !met) {
      met = true
      run(nowMs())
    }
    return emit.call(this, event, ...values)
  }
}
