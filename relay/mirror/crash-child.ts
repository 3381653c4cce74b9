/** For crash.full.test.ts: publishes a change of keys in a directory and kills itself before the Nth write. argv: directory, N. */
import { change, openScene } from './crash-scene.ts'

const [dir = '', at = ''] = process.argv.slice(2)
const repository = await openScene(dir, (n) => {
  if (n === Number(at)) process.kill(process.pid, 'SIGKILL')
})
await repository.submit(change)
