/** The network process's end of the install step: asks it, and gives its answers as an `Installer`'s. */
import type { Plan } from '../../web/core/rollout/lifecycle.ts'
import type { Release } from '../../web/core/release/target.ts'
import type { Ask } from '../../web/core/rollout/install-guard.ts'
import type { HandedFiles } from '../../web/edge/release/handed.ts'
import type { InstallResult } from './installer.ts'
import type { Question, StepResult } from './step-messages.ts'

export interface StepLink {
  /** One question at a time. Rejects where the step cannot be reached, or ended before it had answered. */
  ask(question: Omit<Question, 'id'>): Promise<StepResult>
  close(): Promise<void>
}

/** The step does not say yes now; the message says why, `attack` what it refused. It is asked again. */
export class NotInstalledYet extends Error {
  override readonly name = 'NotInstalledYet'
  readonly attack: string | undefined
  constructor(message: string, attack?: string) {
    super(message)
    this.attack = attack
  }
}

export interface RemoteInstaller {
  /** `undefined` while the device stops. @throws NotInstalledYet */
  prepare(release: Release): Promise<Plan | undefined>
  /** @throws NotInstalledYet */
  run(ask: Exclude<Ask, 'prepare'>, plan: Plan, release: Release): Promise<InstallResult>
}

export function remoteInstaller(link: StepLink, files: () => Promise<HandedFiles>): RemoteInstaller {
  async function ask(
    what: Ask,
    { path, sha256 }: Release,
    plan?: Plan,
  ): Promise<Exclude<StepResult, { tag: 'not-now' }>> {
    const result = await link.ask({
      ask: what,
      release: { path, sha256 },
      ...(plan === undefined ? {} : { plan }),
      ...(what === 'place' ? { files: await files() } : {}),
    })
    if (result.tag === 'not-now')
      throw new NotInstalledYet(`The install step waits: ${result.reason}`, result.attack)
    return result
  }
  return {
    async prepare(release) {
      const result = await ask('prepare', release)
      return result.tag === 'ok' ? result.plan : undefined
    },
    run: (what, plan, release) => ask(what, release, plan),
  }
}
