import { defineConfig, type OxlintOverride } from "oxlint";
import {
  BANNED_GLOBALS,
  BANNED_IMPORTS,
  BANNED_PROPERTIES,
  LAYERS,
  type Layer,
  SYSTEM_FILE,
} from "./scripts/import-rule.ts";

const CLOCK_ADVICE = "Take the clock or the randomness port: only lib/system.ts reads the real ones.";

/** The part of a lint rule that keeps one layer from the layers and packages it may not see. */
function layerOverride(layer: Layer): OxlintOverride {
  const isFile = layer.name.endsWith(".ts");
  const hidden = LAYERS.filter((other) => other !== layer && !layer.sees.includes(other.name));
  const patterns: { regex: string; message: string }[] = [
    {
      regex: isFile ? "^\\.\\./" : "^\\.\\./\\.\\./",
      message: `lib/${layer.name} imports nothing outside lib.`,
    },
  ];
  for (const other of hidden) {
    const target = other.name.endsWith(".ts") ? `${other.name.replace(".", "\\.")}$` : `${other.name}/`;
    patterns.push({
      regex: `^${isFile ? "\\./" : "\\.\\./"}${target}`,
      message: `lib/${layer.name} does not see lib/${other.name}: scripts/import-rule.ts holds the import rule.`,
    });
  }
  for (const [name, regex] of Object.entries({ "node:*": "^node:", "@aws-sdk/*": "^@aws-sdk/" })) {
    if (layer.packages.includes(name)) continue;
    patterns.push({
      regex,
      message: `lib/${layer.name} does not import ${name}: scripts/import-rule.ts holds the import rule.`,
    });
  }
  const paths =
    layer.name === SYSTEM_FILE
      ? []
      : BANNED_IMPORTS.map(({ from, names }) => ({
          name: from,
          ...(names === "all" ? {} : { importNames: [...names] }),
          message: CLOCK_ADVICE,
        }));
  return {
    files: [isFile ? `lib/${layer.name}` : `lib/${layer.name}/*.ts`],
    rules: { "no-restricted-imports": ["error", { paths, patterns }] },
  };
}

export default defineConfig({
  plugins: ["eslint", "typescript", "unicorn", "oxc", "import", "promise", "vitest"],
  categories: { correctness: "error" },
  options: { typeAware: true, denyWarnings: true, reportUnusedDisableDirectives: "error" },
  ignorePatterns: ["dist", "coverage", "reports", "examples/shop/out", "cdk.out", ".cache"],
  rules: {
    eqeqeq: "error",
    "no-var": "error",
    "prefer-const": "error",
    "import/no-cycle": "error",
    "import/no-self-import": "error",
    "typescript/ban-ts-comment": ["error", { "ts-expect-error": "allow-with-description" }],
    "typescript/consistent-type-imports": "error",
    "typescript/await-thenable": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/return-await": ["error", "error-handling-correctness-only"],
    // Off, because error texts print values of unknown type, handlers are plain functions in option objects, and a
    // string spread into code points is what sizes and checksums mean.
    "typescript/no-base-to-string": "off",
    "typescript/no-misused-spread": "off",
    "typescript/restrict-template-expressions": "off",
    "typescript/unbound-method": "off",
    "typescript/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
  },
  overrides: [
    {
      files: ["lib/**/*.ts"],
      rules: {
        "import/no-default-export": "error",
        "no-console": "error",
        "typescript/no-explicit-any": "error",
        "typescript/no-non-null-assertion": "error",
      },
    },
    {
      files: ["lib/**/*.ts"],
      excludeFiles: [`lib/${SYSTEM_FILE}`],
      rules: {
        "no-restricted-globals": ["error", ...BANNED_GLOBALS.map((name) => ({ name, message: CLOCK_ADVICE }))],
        "no-restricted-properties": [
          "error",
          ...BANNED_PROPERTIES.map(([object, property]) => ({ object, property, message: CLOCK_ADVICE })),
        ],
      },
    },
    ...LAYERS.map(layerOverride),
    {
      files: ["infra/**/*.ts"],
      excludeFiles: ["infra/app.ts", "infra/shop-stack.ts"],
      rules: {
        "import/no-default-export": "error",
        "no-console": "error",
        "typescript/no-explicit-any": "error",
        "typescript/no-non-null-assertion": "error",
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              { regex: "^\\.\\./(?!lib/task/)", message: "infra sees lib/task alone, and names functions by path." },
              { regex: "^@aws-sdk/", message: "A construct describes resources: it calls no service." },
            ],
          },
        ],
      },
    },
  ],
});
