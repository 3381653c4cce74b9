/** The keeper of a browser: Web Locks choose the tab, a BroadcastChannel joins the others to it, IndexedDB keeps it all. */
import { openIdbJournal } from '../storage/idb-journal.ts'
import type { AllowanceKeeper, KeeperChannel, KeeperLock, KeeperOptions } from './api.ts'
import { openKeeper } from './keeper.ts'

const NAME = 'satpatch/allowances'

/** Granted to the next tab the moment that the holder's closes or crashes. */
export function webLock(name: string = NAME): KeeperLock {
  return {
    acquire: (signal) =>
      new Promise((resolve, reject) => {
        navigator.locks
          .request(name, { signal }, () => new Promise<void>((release) => resolve(release)))
          .catch(reject)
      }),
  }
}

export function tabChannel(name: string = NAME): KeeperChannel {
  const channel = new BroadcastChannel(name)
  return {
    post: (message) => channel.postMessage(message),
    onMessage(run) {
      const listen = (event: MessageEvent<unknown>): void => run(event.data)
      channel.addEventListener('message', listen)
      return () => channel.removeEventListener('message', listen)
    },
    close: () => channel.close(),
  }
}

export function openBrowserKeeper(
  options: Pick<KeeperOptions, 'sources' | 'relays' | 'vault' | 'log'>,
): AllowanceKeeper {
  return openKeeper({ ...options, journal: openIdbJournal(NAME), lock: webLock(), channel: tabChannel() })
}
