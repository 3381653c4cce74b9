#!/usr/bin/env node
/** The package's `bin`: sets up once, then becomes the command line (`device/main.ts`). */
import { launch } from './setup.mjs'

await launch(['run', 'device/main.ts', ...process.argv.slice(2)])
