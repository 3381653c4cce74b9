/**
 * What a TUF client must do (specification 1.0.34, section 5), case by case: exit codes, requests in their order and
 * the files that are left. The cases are those of the public conformance suite and what it leaves open; `cases/` has
 * them by role.
 */
import { afterEach, expect, test } from 'vitest'
import { artifactCases } from './cases/artifacts.ts'
import { ageCases } from './cases/age.ts'
import { delegationCases } from './cases/delegations.ts'
import { listCases } from './cases/lists.ts'
import { oddDelegationCases } from './cases/odd-delegations.ts'
import { refreshCases } from './cases/refresh.ts'
import { rootCases } from './cases/roots.ts'
import { now, type Cases } from './cases/shared.ts'
import { softwareCases } from './cases/software.ts'
import { Client, type Run } from './client.ts'
import { canonical, Repository } from './repository.ts'

/** `long`: the cases with hundreds of files too. */
export function conformance(run: Run, long = false): void {
  const clients: Client[] = []
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.stop()
  })
  const cases: Cases = {
    async start(repository, trusted, prefix) {
      const client = await Client.start(run, repository, trusted, prefix)
      clients.push(client)
      return client
    },
    repo: (...kinds) => new Repository(now, kinds.length > 0 ? kinds : undefined),
    long,
  }
  refreshCases(cases)
  softwareCases(cases)
  rootCases(cases)
  ageCases(cases)
  listCases(cases)
  delegationCases(cases)
  oddDelegationCases(cases)
  artifactCases(cases)

  test('canonical JSON of what signs and what verifies is one', () => {
    expect(canonical({ b: 'ü"\\\n', a: [1, null, true] }).toString()).toBe(
      '{"a":[1,null,true],"b":"ü\\"\\\\\n"}',
    )
  })
}
