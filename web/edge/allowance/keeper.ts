/**
 * One keeper per origin, or data directory: whoever holds the lock runs the allowances; the others show what it tells
 * them, send it what their owner wants, and take over when it goes.
 */
import * as v from 'valibot'
import { toHex } from '../../core/bytes.ts'
import { liveCell } from '../../core/live.ts'
import { AllowanceError, type AllowanceKeeper, type KeeperOptions, type KeeperView } from './api.ts'
import { Leader } from './leader.ts'
import { wordsOf } from './running.ts'

const VERBS = [
  'create',
  'connection',
  'setLimit',
  'topUp',
  'change',
  'pause',
  'resume',
  'revoke',
  'remove',
  'showPreimage',
] as const
type Verb = (typeof VERBS)[number]

const CODES = [
  ...(['not-found', 'revoked', 'bad-terms', 'no-source', 'not-offered', 'in-flight'] as const),
  ...(['wallet', 'no-answer', 'storage'] as const),
]

/** Between tabs of one version and one origin: shape is checked, meaning is the leader's. */
const messageSchema = v.variant('tag', [
  v.object({ tag: v.literal('hello') }),
  v.object({
    tag: v.literal('view'),
    view: v.custom<KeeperView>((x) => v.is(v.looseObject({ allowances: v.array(v.unknown()) }), x)),
  }),
  v.object({ tag: v.literal('do'), id: v.string(), verb: v.picklist(VERBS), args: v.array(v.unknown()) }),
  v.object({ tag: v.literal('done'), id: v.string(), value: v.optional(v.unknown()) }),
  v.object({ tag: v.literal('refused'), id: v.string(), code: v.picklist(CODES), message: v.string() }),
])
type Message = v.InferOutput<typeof messageSchema>

/** For an intention, on its way to another tab and back; the source wallet may have to be asked. */
const ANSWER_MS = 30_000

export function openKeeper(options: KeeperOptions): AllowanceKeeper {
  const nowMs = options.nowMs ?? Date.now
  const { channel } = options
  const view = liveCell<KeeperView>({ role: 'starting', sources: [], allowances: [], atMs: nowMs() })
  const waiting = new Map<string, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  const stop = new AbortController()
  let leader: Leader | undefined
  let release: (() => void) | undefined
  let failed: AllowanceError | undefined
  let serial = 0
  const tab = toHex(crypto.getRandomValues(new Uint8Array(8)))
  let tellReady: () => void = () => undefined
  /** Either this tab runs them, or another has been heard of. */
  const ready = new Promise<void>((resolve) => (tellReady = resolve))
  const post = (message: Message): void => channel?.post(message)

  const carryOut = (verb: Verb, args: readonly unknown[]): Promise<unknown> => {
    if (!leader) return Promise.reject(noAnswer())
    return (leader[verb] as (...given: readonly unknown[]) => Promise<unknown>).apply(
      leader,
      args as unknown[],
    )
  }
  const finish = (id: string, end: (one: NonNullable<ReturnType<typeof waiting.get>>) => void): void => {
    const one = waiting.get(id)
    waiting.delete(id)
    if (one) end(one)
  }
  const onMessage = (raw: unknown): void => {
    const parsed = v.safeParse(messageSchema, raw)
    if (!parsed.success) return
    const message = parsed.output
    switch (message.tag) {
      case 'hello':
        if (leader) post({ tag: 'view', view: leader.view.get() })
        return
      case 'view':
        if (leader) return
        view.set({ ...message.view, role: 'watches' })
        return tellReady()
      case 'do': {
        if (!leader) return
        const { id, verb, args } = message
        void carryOut(verb, args).then(
          (value) => post({ tag: 'done', id, value }),
          (error: unknown) => {
            const code = error instanceof AllowanceError ? error.code : 'wallet'
            post({ tag: 'refused', id, code, message: wordsOf(error) })
          },
        )
        return
      }
      case 'done':
        return finish(message.id, ({ resolve }) => resolve(message.value))
      case 'refused':
        return finish(message.id, ({ reject }) => reject(new AllowanceError(message.code, message.message)))
      default:
        return message satisfies never
    }
  }

  const lead = async (): Promise<void> => {
    const letGo = await options.lock.acquire(stop.signal)
    if (stop.signal.aborted) return letGo()
    release = letGo
    leader = await Leader.start(options)
    // The one that was asked is gone; whether it acted shows in the view.
    for (const id of [...waiting.keys()]) finish(id, ({ reject }) => reject(noAnswer()))
    leader.view.subscribe((next) => {
      view.set(next)
      post({ tag: 'view', view: next })
    })
    tellReady()
  }
  const unwatch = channel?.onMessage(onMessage)
  post({ tag: 'hello' })
  const leading = lead().catch((cause: unknown) => {
    if (stop.signal.aborted) return
    failed = new AllowanceError('storage', `The allowances cannot be opened. ${wordsOf(cause)}`, { cause })
    release?.()
    tellReady()
  })

  const ask = async (verb: Verb, ...args: readonly unknown[]): Promise<unknown> => {
    await ready
    if (stop.signal.aborted) throw new AllowanceError('no-answer', 'The allowances have been closed.')
    if (leader) return carryOut(verb, args)
    if (failed) throw failed
    const id = `${tab}-${++serial}`
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(id, (one) => one.reject(noAnswer())), ANSWER_MS)
      waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer)
          resolve(value)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      })
      post({ tag: 'do', id, verb, args: [...args] })
    })
  }
  const act =
    (verb: Verb) =>
    async (...args: readonly unknown[]): Promise<void> =>
      void (await ask(verb, ...args))

  return {
    view: {
      get: () => leader?.view.get() ?? view.get(),
      subscribe(run) {
        leader?.view.get()
        return view.subscribe(run)
      },
    },
    create: (wanted) => ask('create', wanted) as ReturnType<AllowanceKeeper['create']>,
    connection: (id) => ask('connection', id) as Promise<string>,
    setLimit: act('setLimit'),
    topUp: act('topUp'),
    change: act('change'),
    pause: act('pause'),
    resume: act('resume'),
    revoke: act('revoke'),
    remove: act('remove'),
    showPreimage: act('showPreimage'),
    async close() {
      stop.abort()
      tellReady()
      await leading
      await leader?.close()
      release?.()
      unwatch?.()
      channel?.close()
      for (const id of [...waiting.keys()]) finish(id, ({ reject }) => reject(noAnswer()))
    },
  }
}

const noAnswer = (): AllowanceError =>
  new AllowanceError(
    'no-answer',
    'The tab that runs the allowances did not answer. Look whether it happened, then try again.',
  )
