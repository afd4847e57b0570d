import { describe, expect, test } from "vitest";
import { LOCALSTACK_IMAGE } from "../../scripts/emulators/versions.ts";
import { readText } from "../support/documents.ts";

const workflow = readText(".github/workflows/ci.yml");
const [head = "", body = ""] = workflow.split("\njobs:\n");
/** The text of each job, by its name. */
const jobs = new Map(
  body.split(/^(?= {2}\w+:$)/m).map((text) => [/^ {2}(\w+):$/m.exec(text)?.[1] ?? "", text] as const),
);

describe(".github/workflows/ci.yml", () => {
  test("runs each script that .ci/run runs", () => {
    const ci = readText(".ci/run");
    const steps = [...ci.matchAll(/^step "npm run ([\w:-]+)"/gm)].map(([, name]) => name);
    const suites = /^for suite in (.+?); do/m.exec(ci)?.[1]?.split(" ") ?? [];
    const scripts = [...steps, "test", ...suites.map((name) => `test:${name}`)];
    expect(scripts).toEqual(expect.arrayContaining(["check", "demo", "test:localstack", "test:package"]));
    const named = [...workflow.matchAll(/run: npm run ([\w:-]+)$/gm)].map(([, name]) => name);
    expect(named).toHaveLength(scripts.length);
    expect(new Set(named)).toEqual(new Set(scripts));
  });

  test("tests on the oldest and the newest line of Node that is supported", () => {
    const { engines, devDependencies } = JSON.parse(readText("package.json"));
    const lines = /node: \[(\d+), (\d+)\]/.exec(workflow)?.slice(1) ?? [];
    expect(lines).toEqual([/\d+/.exec(engines.node)?.[0], /^\d+/.exec(devDependencies.node)?.[0]]);
  });

  test("has LocalStack as a service, in the image of the scripts and by its hash", () => {
    expect(/^ +image: (.+)@sha256:[0-9a-f]{64}$/m.exec(workflow)?.[1]).toBe(LOCALSTACK_IMAGE);
  });

  test("holds every action by its hash, beside which its version stands", () => {
    const uses = [...workflow.matchAll(/uses: (.+)$/gm)].map(([, action]) => action);
    expect(uses.length).toBeGreaterThan(jobs.size);
    expect(uses.filter((action = "") => !/^actions\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(action))).toEqual([]);
  });

  test("may read alone, and no job runs for longer than the whole may take", () => {
    expect(head).toContain("permissions:\n  contents: read\n\n");
    expect(workflow.match(/permissions:/g)).toHaveLength(1);
    expect([...jobs.keys()]).toEqual(["test", "localstack", "emulators"]);
    const minutes = [...jobs.values()].map((job) => Number(/^ {4}timeout-minutes: (\d+)$/m.exec(job)?.[1]));
    expect(minutes.filter((limit) => !(limit <= 45))).toEqual([]);
  });
});
