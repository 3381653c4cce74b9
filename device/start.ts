/** Where `satpatch` begins: what must start fast goes its own way, everything else is loaded for it (`main.ts`). */
const [verb, ...args] = process.argv.slice(2)
if (verb === 'tuf' && !args.includes('--help')) {
  const { runTuf } = await import('./cli/tuf.ts')
  process.exitCode = await runTuf(args)
  // A connection that a server keeps open must not keep a finished command alive.
  process.stderr.write('', () => process.exit())
} else if (verb === 'install-step') {
  const { runInstallStep } = await import('./cli/install-step.ts')
  process.exitCode = await runInstallStep(args)
  process.stderr.write('', () => process.exit())
} else await import('./main.ts')

export {}
