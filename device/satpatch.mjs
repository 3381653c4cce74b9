#!/usr/bin/env node
/** The package's `bin`: sets up once, then becomes the command line (`device/start.ts`). */
import { launch } from './setup.mjs'

await launch(['run', 'device/start.ts', ...process.argv.slice(2)])
