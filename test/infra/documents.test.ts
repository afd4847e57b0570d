import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { resourcesOf, templateOf } from "./support/synth.ts";

const page = readFileSync(new URL("../../docs/deploy.md", import.meta.url), "utf8");

test("docs/deploy.md lists every alarm", () => {
  const [, table = ""] = page.split("\n## Alarms\n");
  const listed = [...table.matchAll(/^\| `(…?)(\w+)` \|/gm)].map(([, each, name]) => (each === "" ? name : `*${name}`));
  const deployed = Object.keys(resourcesOf(templateOf(), "AWS::CloudWatch::Alarm")).map((id) =>
    id.replace(/^Tasks|Alarm[0-9A-F]{8}$/g, "").replace(/^(Critical|High|Normal|Low)/, "*"),
  );
  expect(new Set(listed)).toEqual(new Set(deployed));
});

test("docs/deploy.md lists every setting, in the order of the props", () => {
  const source = readFileSync(new URL("../../infra/task-queue-props.ts", import.meta.url), "utf8");
  const [, props = ""] = source.split("export interface TaskQueueProps {");
  const declared = [...props.matchAll(/^ {2}readonly (\w+)\?: /gm)].map(([, name]) => name);
  const [, table = ""] = page.split("\n### Settings\n");
  const listed = [...(table.split("\n## ")[0] ?? "").matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name);
  expect(declared.length).toBeGreaterThan(10);
  expect(listed).toEqual(declared);
  // Each setting says its default, where the editor shows it.
  expect(props.split("@default").length - 1).toBe(declared.length);
});
