/** Unix seconds before which no clock is plausible: this program did not exist. */
export const BUILT_AT_S = Date.UTC(2026, 10, 1) / 1000
