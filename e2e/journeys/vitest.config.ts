/** Journeys: whole processes and real browsers, one file after the other. */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  root: new URL('../..', import.meta.url).pathname,
  test: {
    include: ['journeys', 'peers', 'failures', 'attacks'].map((room) => `e2e/${room}/**/*.spec.ts`),
    environment: 'node',
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
  },
})
