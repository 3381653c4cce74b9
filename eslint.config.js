/** What the linter guards beyond types: lost promises, `any`, and the layers (e2e/lint/layers.js). */
import js from '@eslint/js'
import svelte from 'eslint-plugin-svelte'
import globals from 'globals'
import ts from 'typescript-eslint'
import layers, { PURITY } from './e2e/lint/layers.js'

const off = (...names) => Object.fromEntries(names.map((name) => [name, 'off']))

export default ts.config(
  { ignores: ['dist/', 'node_modules/', '.data/', '.cache/', 'test-results/', 'web/public/'] },
  js.configs.recommended,
  ...ts.configs.recommendedTypeChecked,
  ...svelte.configs.recommended,
  {
    languageOptions: {
      globals: { ...globals.browser, ...globals.node },
      parserOptions: {
        projectService: true,
        extraFileExtensions: ['.svelte'],
        tsconfigRootDir: import.meta.dirname,
      },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    plugins: { layers },
    rules: {
      'layers/imports-inwards': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': [
        'error',
        { checksVoidReturn: { arguments: false, attributes: false } },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/ban-ts-comment': [
        'error',
        { 'ts-expect-error': true, 'ts-ignore': true, 'ts-nocheck': true },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off', // a port's method is async even where one adapter need not wait
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowArray: true },
      ],
      // Too noisy beside strict tsc: branded byte arrays, empty maps, methods handed on as values.
      ...off(
        '@typescript-eslint/no-unnecessary-type-assertion',
        '@typescript-eslint/unbound-method',
        '@typescript-eslint/no-unsafe-argument',
        '@typescript-eslint/no-unsafe-return',
      ),
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: ts.parser } },
    rules: {
      // Svelte's props and stores reach the type service as `any` in places that svelte-check does see.
      ...off(
        '@typescript-eslint/no-unsafe-assignment',
        '@typescript-eslint/no-unsafe-call',
        '@typescript-eslint/no-unsafe-member-access',
        '@typescript-eslint/no-unsafe-argument',
        '@typescript-eslint/no-unsafe-return',
      ),
      'svelte/prefer-svelte-reactivity': 'off', // maps and dates that never change after they are made
      'svelte/no-navigation-without-resolve': 'off', // SvelteKit's; there is no base path here
      'prefer-const': 'off', // `let { a } = $props()`
    },
  },
  { files: ['web/core/**/*.ts'], ignores: ['**/*.test.ts'], rules: PURITY },
  { files: ['**/*.js', '**/*.mjs'], ...ts.configs.disableTypeChecked },
  {
    files: ['**/*.test.ts', '**/*.spec.ts', '**/*-suite.ts'],
    rules: off('@typescript-eslint/no-unsafe-assignment', '@typescript-eslint/no-unsafe-member-access'),
  },
)
