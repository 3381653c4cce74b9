/** The vendor engine's `wrapKeys` for a page: as many workers a list as this machine has processors for. */
import type { KeyEntry } from '../../core/release/confidential.ts'
import { keysFileOf, partsOfJob, type WrapJob, type WrapKeys } from '../../edge/confidential/keys.ts'
import { AppError } from '../errors.ts'
import type { WrapNews } from './wrap.worker.ts'

/** Fewer readers are not worth another worker's start. */
const READERS_A_WORKER = 50

export const wrapInWorker: WrapKeys = async (job) => {
  const worth = Math.ceil(job.readers.length / READERS_A_WORKER)
  const parts = partsOfJob(job, Math.min(navigator.hardwareConcurrency || 1, worth))
  const working = parts.map(work)
  try {
    const entries = await Promise.all(working.map(({ done }) => done))
    return keysFileOf(job, entries.flat())
  } finally {
    for (const { end } of working) end()
  }
}

function work(job: WrapJob): Readonly<{ done: Promise<KeyEntry[]>; end: () => void }> {
  const worker = new Worker(new URL('./wrap.worker.ts', import.meta.url), { type: 'module' })
  const done = new Promise<KeyEntry[]>((resolve, reject) => {
    const fail = (message: string) =>
      reject(new AppError('rejected', `The key could not be wrapped for your devices: ${message}.`))
    worker.addEventListener('error', () => fail('the worker stopped'))
    worker.addEventListener('message', ({ data }: MessageEvent<WrapNews>) => {
      if (data.tag === 'failed') fail(data.message)
      else resolve(data.entries)
    })
  })
  worker.postMessage(job)
  return { done, end: () => worker.terminate() }
}
