export const NODE_FLAGS: readonly string[]
export const DEVICE_FLAGS: readonly string[]
export function nodeEnv(env: NodeJS.ProcessEnv, modules: string): NodeJS.ProcessEnv
