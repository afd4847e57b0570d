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
  return JSON.parse(readFileSync(new URL(`./golden/${name}`, import.meta.url), "utf8")) as Content;
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

describe("the indexes of the ledger", () => {
  const [table] = Object.values(resourcesOf(template, "AWS::DynamoDB::Table"));
  const indexes = table?.Properties?.["GlobalSecondaryIndexes"] as {
    IndexName: string;
    KeySchema: { AttributeName: string }[];
    Projection: { ProjectionType: string };
  }[];

  test("are those of the newest release in the list", () => {
    expect(
      Object.fromEntries(
        indexes.map(({ IndexName, KeySchema, Projection }) => [
          IndexName,
          [...KeySchema.map(({ AttributeName }) => AttributeName), Projection.ProjectionType],
        ]),
      ),
      "add the release that changes an index to test/infra/golden/ledger-indexes.json",
    ).toEqual(releases.at(-1)?.indexes);
  });

  test("change one at a time, since CloudFormation makes or deletes one index in an update", () => {
    for (const [at, { release, indexes: now }] of releases.entries()) {
      const before = releases[at - 1]?.indexes ?? now;
      const names = new Set([...Object.keys(before), ...Object.keys(now)]);
      const changes = [...names].flatMap((name) => {
        if (JSON.stringify(before[name]) === JSON.stringify(now[name])) return [];
        // Another key or projection is a new index under an old name: one deletion and one creation.
        return before[name] !== undefined && now[name] !== undefined ? [`-${name}`, `+${name}`] : [name];
      });
      expect(changes.length, `release ${release} changes ${changes.join(", ")}`).toBeLessThanOrEqual(1);
    }
  });
});
