/**
 * Property tests draw the same cases in each run, so that a red run is a fault and not a draw.
 * `SATPATCH_SEED=N` draws others.
 */
import fc from 'fast-check'

fc.configureGlobal({ seed: Number(process.env['SATPATCH_SEED'] ?? 1) })
