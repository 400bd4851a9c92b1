// What ESLint holds the instruments' JavaScript to. `npm run check` runs it; so do pre-commit and the tests.

import { createRequire } from "node:module";

// require also finds what lies on NODE_PATH, where pre-commit installs; import would look beside this file alone
const require = createRequire(import.meta.url);
const js = require("@eslint/js");
const globals = require("globals");

export default [
  // Python's folders, and what is made
  { ignores: ["**/.*/", "artifacts/", "build/", "dist/", "runs/", "site/"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      complexity: ["error", 10],
      "consistent-return": "error",
      eqeqeq: "error",
      "max-depth": ["error", 4],
      "max-lines": ["error", { max: 350, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": ["error", { max: 40, skipBlankLines: true, skipComments: true }],
      "max-nested-callbacks": ["error", 4],
      "max-params": ["error", 6],
      "no-implicit-coercion": "error",
      "no-nested-ternary": "error",
      "no-param-reassign": "error",
      "no-shadow": "error",
      "no-unused-vars": ["error", { args: "all", argsIgnorePattern: "^_" }],
      "no-use-before-define": ["error", { functions: true }],
      "no-var": "error",
      "object-shorthand": "error",
      "one-var": ["error", "never"],
      "prefer-const": "error",
    },
  },
  { files: ["dynconv/**"], languageOptions: { globals: globals.browser } },
];
