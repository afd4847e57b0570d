import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { resourcesOf, templateOf } from "./support/synth.ts";

/*
 * Both files are written by hand, on purpose: a change of what holds data is a decision, and no snapshot to refresh.
 */

interface IndexRelease {
  readonly release: string;
  readonly indexes: Readonly<Record<string, readonly string[]>>;
}

const goldenIds = readGolden<Record<string, string>>("logical-ids.json");
const releases = readGolden<IndexRelease[]>("ledger-indexes.json");

function readGolden<Content>(name: string): Content {
  return JSON.parse(read(`./golden/${name}`)) as Content;
}

function read(path: string): string {
  return readFileSync(new URL(path, import.meta.url), "utf8");
}

const template = templateOf();

test("queues, table and bucket have the logical ids that are deployed", () => {
  const ids: Record<string, string> = {};
  for (const type of ["AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue"])
    for (const [id, { Properties }] of Object.entries(resourcesOf(template, type)))
      ids[id] = [type, Properties?.["QueueName"]].filter(Boolean).join(" ");
  expect(
    ids,
    "under a new id or queue name it is a new resource, and what the deployed one holds is lost: keep the id, or say in CHANGELOG.md how a stage moves over and change golden/logical-ids.json",
  ).toEqual(goldenIds);
});

type Indexes = IndexRelease["indexes"];

/** The indexes that an update makes and deletes on the way from one release to the next. */
function changesOf(before: Indexes, now: Indexes): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(now)]);
  return [...names].flatMap((name) => {
    if (JSON.stringify(before[name]) === JSON.stringify(now[name])) return [];
    // Another key or projection is a new index under an old name: one deletion and one creation.
    return before[name] !== undefined && now[name] !== undefined ? [`-${name}`, `+${name}`] : [name];
  });
}

/** The releases of a history that change more than one index. */
function tooBig(history: readonly IndexRelease[]): string[] {
  return history.flatMap(({ release, indexes }, at) => {
    const changes = changesOf(history[at - 1]?.indexes ?? indexes, indexes);
    return changes.length > 1 ? [`${release}: ${changes.join(" ")}`] : [];
  });
}

describe("the indexes of the ledger", () => {
  const [table] = Object.values(resourcesOf(template, "AWS::DynamoDB::Table"));
  const indexes = table?.Properties?.["GlobalSecondaryIndexes"] as {
    IndexName: string;
    KeySchema: { AttributeName: string }[];
    Projection: { ProjectionType: string };
  }[];

  test("are those of the newest release in the list, which is the package's", () => {
    expect(
      Object.fromEntries(
        indexes.map(({ IndexName, KeySchema, Projection }) => [
          IndexName,
          [...KeySchema.map(({ AttributeName }) => AttributeName), Projection.ProjectionType],
        ]),
      ),
      "add the release that changes an index to test/infra/golden/ledger-indexes.json; what is released there stays as it is",
    ).toEqual(releases.at(-1)?.indexes);
    const { version } = JSON.parse(read("../../package.json")) as { version: string };
    expect(releases.at(-1)?.release, "each release has its entry, also one that changes no index").toBe(version);
  });

  test("are listed for every release there was", () => {
    const released = [...read("../../CHANGELOG.md").matchAll(/^## (\d+\.\d+\.\d+)/gm)].map(([, version]) => version);
    expect(releases.map(({ release }) => release)).toEqual(released.reverse());
  });

  test("change one at a time, since CloudFormation makes or deletes one index in an update", () => {
    expect(tooBig(releases)).toEqual([]);
  });

  const first: Indexes = { created: ["cs", "ct", "KEYS_ONLY"], owed: ["os", "oa", "KEYS_ONLY"] };
  const { owed: _, ...withoutOwed } = first;

  test.each([
    ["none", first, []],
    ["one that is new", { ...first, dead: ["ds", "da", "KEYS_ONLY"] }, []],
    ["one that is gone", withoutOwed, []],
    ["two that are new", { ...first, dead: ["ds", "da", "ALL"], paused: ["ps", "pa", "ALL"] }, ["2: dead paused"]],
    ["one that is new for one that is gone", { ...withoutOwed, due: ["os", "oa", "KEYS_ONLY"] }, ["2: owed due"]],
    ["another key under an old name", { ...first, owed: ["os", "ob", "KEYS_ONLY"] }, ["2: -owed +owed"]],
    ["another projection under an old name", { ...first, owed: ["os", "oa", "ALL"] }, ["2: -owed +owed"]],
  ] as [string, Indexes, string[]][])("are compared from release to release: %s", (_name, second, found) => {
    expect(
      tooBig([
        { release: "1", indexes: first },
        { release: "2", indexes: second },
        { release: "3", indexes: second },
      ]),
    ).toEqual(found);
  });
});
