/** Repositories drawn from a seed, good and hostile, each seen twice: as it is, and after it has changed. */
import { addKey, changes, delegate, paths, top } from './changes.ts'
import { drawFrom, type Draw } from './draw.ts'
import { Repository } from './repository.ts'

const changeNames = Object.keys(changes)

/** Publishes lists again, so that a change is not only there but listed, most of the time. */
function relist(repository: Repository, draw: Draw): void {
  if (draw.chance(0.9)) repository.publish('snapshot')
  if (draw.chance(0.95)) repository.publish('timestamp')
}

function apply(repository: Repository, draw: Draw, hostile: number): string[] {
  const names = Array.from({ length: draw.below(hostile + 1) }, () => draw.one(changeNames))
  for (const name of names) changes[name]?.(repository, draw)
  relist(repository, draw)
  return names
}

/** The repository as a client first sees it. `second()` changes it for its next visit. */
export function drawRepository(seed: number, nowMs: number) {
  const draw = drawFrom(seed)
  const repository = new Repository(nowMs)
  for (const role of top) {
    repository.roleOf(role).keyids = []
    repository.signers.set(role, [])
    const threshold = 1 + (draw.chance(0.25) ? 1 : 0)
    repository.roleOf(role).threshold = threshold
    for (let i = 0; i < threshold + draw.below(2); i++) addKey(repository, role, draw)
  }
  repository.root.consistent_snapshot = draw.chance(0.8)
  repository.listHashes = draw.chance(0.5)
  repository.published.clear()
  for (let i = draw.below(5); i > 0; i--) delegate(repository, draw)
  for (const role of repository.targetsRoles.keys())
    for (let i = draw.below(4); i > 0; i--)
      repository.addArtifact(role, draw.one(paths), `${role} ${draw.below(1000)}`)
  repository.publish(
    'root',
    ...[...repository.targetsRoles.keys()].filter(() => draw.chance(0.98)),
    'snapshot',
    'timestamp',
  )
  const trusted = repository.firstRoot()
  const first = draw.chance(0.5) ? apply(repository, draw, 2) : []
  return {
    repository,
    trusted,
    first,
    second: (): string[] => apply(repository, draw, 3),
    paths: [draw.one(paths), draw.one(paths), draw.one(paths)],
  }
}
