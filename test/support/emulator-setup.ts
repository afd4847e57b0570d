import type { TestProject } from "vitest/node";
import type { Emulator } from "../../scripts/emulators/index.ts";
import { startEmulator } from "../../scripts/emulators/index.ts";
import type { EmulatorName } from "../../scripts/emulators/versions.ts";

/** Where an emulator that runs beside a project's tests answers. */
export interface EmulatorSite {
  readonly endpoint: string;
  readonly version: string;
  readonly log: string;
}

declare module "vitest" {
  export interface ProvidedContext {
    emulators: Partial<Record<EmulatorName, EmulatorSite>>;
  }
}

/** What each project runs on. */
const EMULATORS: Readonly<Record<string, readonly EmulatorName[]>> = {
  backends: ["dynamodb-local", "elasticmq"],
  localstack: ["localstack"],
  ministack: ["ministack"],
};

let started: Emulator[] = [];

/** Starts the project's emulators once for all its files. One that does not start fails the run. */
export async function setup(project: TestProject): Promise<void> {
  const emulators: Partial<Record<EmulatorName, EmulatorSite>> = {};
  for (const name of EMULATORS[project.name] ?? []) {
    const emulator = await startEmulator(name);
    started.push(emulator);
    emulators[name] = { endpoint: emulator.endpoint, version: emulator.version, log: emulator.log };
    console.log(`${name} ${emulator.version} at ${emulator.endpoint}`);
  }
  project.provide("emulators", emulators);
}

/** Stops what was started. */
export async function teardown(): Promise<void> {
  await Promise.all(started.map((emulator) => emulator.stop()));
  started = [];
}
