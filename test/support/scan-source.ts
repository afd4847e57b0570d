import { posix } from "node:path";
import { parseSync, Visitor } from "oxc-parser";
import { BANNED_GLOBALS, BANNED_IMPORTS, BANNED_PROPERTIES, LAYERS, type Layer } from "../../scripts/import-rule.ts";

/** One breach of a rule of the source, as a line that names the file, the line and the rule. */
export type Finding = string;

interface Import {
  readonly specifier: string;
  readonly names: readonly string[];
  readonly line: number;
}

interface Scan {
  readonly imports: readonly Import[];
  readonly clockUses: readonly { readonly what: string; readonly line: number }[];
  readonly escapes: readonly { readonly what: string; readonly line: number }[];
  readonly ownCode: readonly { readonly what: string; readonly line: number }[];
}

const GLOBAL_OBJECTS = new Set(["globalThis", "global"]);
const BANNED_OBJECTS = new Map<string, Set<string>>();
for (const [object, property] of BANNED_PROPERTIES) {
  BANNED_OBJECTS.set(object, (BANNED_OBJECTS.get(object) ?? new Set()).add(property));
}

/** Reads one TypeScript source by its syntax tree, so that comments and strings never count. */
function scan(path: string, source: string): Scan {
  const parsed = parseSync(path, source, { lang: "ts", sourceType: "module" });
  const firstError = parsed.errors[0];
  if (firstError !== undefined) throw new Error(`${path} does not parse: ${firstError.message}`);

  const lineOf = (offset: number): number => source.slice(0, offset).split("\n").length;
  const imports: Import[] = [];
  const clockUses: { what: string; line: number }[] = [];
  const escapes: { what: string; line: number }[] = [];
  const ownCode: { what: string; line: number }[] = [];
  const plainMembers = new Set<unknown>();

  const addImport = (specifier: string, names: readonly string[], offset: number): void => {
    imports.push({ specifier, names, line: lineOf(offset) });
  };
  const addClockUse = (what: string, offset: number): void => {
    clockUses.push({ what, line: lineOf(offset) });
  };

  new Visitor({
    ImportDeclaration(node) {
      const names = node.specifiers.map((one) => {
        if (one.type !== "ImportSpecifier") return "*";
        plainMembers.add(one.imported);
        return one.imported.type === "Identifier" ? one.imported.name : one.imported.value;
      });
      addImport(node.source.value, names, node.start);
    },
    ExportNamedDeclaration(node) {
      if (node.source === null) return;
      const names = node.specifiers.map(({ local }) => {
        plainMembers.add(local);
        return local.type === "Literal" ? local.value : local.name;
      });
      addImport(node.source.value, names, node.start);
    },
    ExportAllDeclaration(node) {
      addImport(node.source.value, ["*"], node.start);
    },
    ImportExpression(node) {
      if (node.source.type === "Literal" && typeof node.source.value === "string") {
        addImport(node.source.value, ["*"], node.start);
      } else {
        addImport("(computed)", ["*"], node.start);
      }
    },
    TSImportType(node) {
      addImport(node.source.value, [], node.start);
    },
    MemberExpression(node) {
      const property =
        !node.computed && node.property.type === "Identifier"
          ? node.property.name
          : node.property.type === "Literal" && typeof node.property.value === "string"
            ? node.property.value
            : undefined;
      if (!node.computed) plainMembers.add(node.property);
      if (property === undefined) return;
      const object =
        node.object.type === "Identifier"
          ? node.object.name
          : node.object.type === "MemberExpression" && node.object.property.type === "Identifier"
            ? node.object.property.name
            : undefined;
      if (object === undefined) return;
      if (BANNED_OBJECTS.get(object)?.has(property) === true) addClockUse(`${object}.${property}`, node.start);
      if (GLOBAL_OBJECTS.has(object) && BANNED_GLOBALS.includes(property)) addClockUse(property, node.start);
    },
    VariableDeclarator(node) {
      if (node.id.type !== "ObjectPattern" || node.init?.type !== "Identifier") return;
      for (const one of node.id.properties) {
        if (one.type !== "Property" || one.key.type !== "Identifier") continue;
        if (BANNED_OBJECTS.get(node.init.name)?.has(one.key.name) === true) {
          addClockUse(`${node.init.name}.${one.key.name}`, one.start);
        }
      }
    },
    NewExpression(node) {
      if (node.callee.type === "Identifier" && node.callee.name === "Date" && node.arguments.length === 0) {
        addClockUse("new Date()", node.start);
      }
    },
    CallExpression(node) {
      if (node.callee.type === "Identifier" && node.callee.name === "Date") addClockUse("Date()", node.start);
    },
    Property(node) {
      if (!node.computed && !node.shorthand) plainMembers.add(node.key);
    },
    MethodDefinition(node) {
      plainMembers.add(node.key);
    },
    PropertyDefinition(node) {
      plainMembers.add(node.key);
    },
    TSPropertySignature(node) {
      plainMembers.add(node.key);
    },
    TSMethodSignature(node) {
      plainMembers.add(node.key);
    },
    Identifier(node) {
      if (!plainMembers.has(node) && BANNED_GLOBALS.includes(node.name)) addClockUse(node.name, node.start);
    },
    TSAsExpression(node) {
      if (node.typeAnnotation.type === "TSAnyKeyword") escapes.push({ what: "as any", line: lineOf(node.start) });
      if (node.expression.type === "TSAsExpression" && node.expression.typeAnnotation.type === "TSUnknownKeyword") {
        escapes.push({ what: "as unknown as", line: lineOf(node.start) });
      }
    },
    ExportDefaultDeclaration(node) {
      escapes.push({ what: "a default export", line: lineOf(node.start) });
    },
  }).visit(parsed.program);

  for (const comment of parsed.comments) {
    if (/@ts-(?:ignore|nocheck|expect-error)|(?:oxlint|eslint)-disable|biome-ignore/.test(comment.value)) {
      escapes.push({ what: `the comment "${comment.value.trim()}"`, line: lineOf(comment.start) });
    }
  }
  for (const statement of parsed.program.body) {
    const isReExport =
      statement.type === "ExportAllDeclaration" ||
      (statement.type === "ExportNamedDeclaration" && statement.declaration === null);
    if (!isReExport) ownCode.push({ what: statement.type, line: lineOf(statement.start) });
  }
  return { imports, clockUses, escapes, ownCode };
}

/** The part of `lib` that a path such as `lib/flow/claim.ts` belongs to, or undefined when the table has no row for it. */
function layerOf(path: string): Layer | undefined {
  const name = path.split("/")[1];
  return LAYERS.find((layer) => layer.name === name);
}

function allowsPackage(layer: Layer, specifier: string): boolean {
  return layer.packages.some((allowed) =>
    allowed.endsWith("*") ? specifier.startsWith(allowed.slice(0, -1)) : specifier === allowed,
  );
}

/** Finds the imports of one file under `lib` that the import rule forbids. */
export function findImportBreaches(path: string, source: string): Finding[] {
  const layer = layerOf(path);
  if (layer === undefined) return [`${path}: scripts/import-rule.ts has no row for this part of lib; add one`];
  const findings: Finding[] = [];
  for (const { specifier, line } of scan(path, source).imports) {
    const where = `${path}:${line}`;
    if (!specifier.startsWith(".")) {
      if (!allowsPackage(layer, specifier)) findings.push(`${where}: ${layer.name} may not import ${specifier}`);
      continue;
    }
    const target = posix.join(posix.dirname(path), specifier);
    if (!target.startsWith("lib/")) {
      findings.push(`${where}: ${layer.name} leaves lib with ${specifier}`);
      continue;
    }
    const seen = layerOf(target);
    if (seen === undefined) findings.push(`${where}: ${specifier} is in no part of lib that the table knows`);
    else if (seen !== layer && !layer.sees.includes(seen.name)) {
      findings.push(`${where}: ${layer.name} may not see ${seen.name} (${specifier})`);
    }
  }
  return findings;
}

/** Finds the uses of the real clock or of real randomness in one file. */
export function findClockUses(path: string, source: string): Finding[] {
  const { imports, clockUses } = scan(path, source);
  const findings = clockUses.map(({ what, line }) => `${path}:${line}: ${what}`);
  for (const { specifier, names, line } of imports) {
    for (const banned of BANNED_IMPORTS) {
      if (banned.from !== specifier && banned.from !== `node:${specifier}`) continue;
      const { names: bannedNames } = banned;
      const used = bannedNames === "all" ? ["all of it"] : names.filter((name) => bannedNames.includes(name));
      for (const name of used) findings.push(`${path}:${line}: ${name} from ${banned.from}`);
    }
  }
  return findings;
}

/** Finds what gets round the type checker or the lint rules in one file, and default exports. */
export function findEscapes(path: string, source: string): Finding[] {
  return scan(path, source).escapes.map(({ what, line }) => `${path}:${line}: ${what}`);
}

/** Finds the statements of one file that are anything but a re-export. */
export function findOwnCode(path: string, source: string): Finding[] {
  return scan(path, source).ownCode.map(({ what, line }) => `${path}:${line}: ${what}`);
}
