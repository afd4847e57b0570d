import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Endpoints } from "../../lib/task/topology.ts";
import type { BackendName, DifferenceId } from "./backend-differences.ts";
import { DIFFERENCES, differs, SERVICES_OF } from "./backend-differences.ts";
import { CLOUDFORMATION_PROBES, LAMBDA_PROBES } from "./difference-probes-cloud.ts";
import { DYNAMODB_PROBES } from "./difference-probes-dynamodb.ts";
import { S3_PROBES } from "./difference-probes-s3.ts";
import { SQS_PROBES } from "./difference-probes-sqs.ts";
import type { DifferenceProbe, DifferenceSite } from "./difference-site.ts";
import { differenceSite } from "./difference-site.ts";

/** Where a backend answers, and how time goes by there. */
export interface ProbedBackend {
  readonly endpoint: string | Endpoints;
  /** Default: it has to be waited for. */
  readonly pass?: ((ms: number) => Promise<void>) | undefined;
  readonly close?: (() => Promise<void>) | undefined;
}

const PROBES: Readonly<Record<DifferenceId, DifferenceProbe>> = {
  ...SQS_PROBES,
  ...DYNAMODB_PROBES,
  ...S3_PROBES,
  ...CLOUDFORMATION_PROBES,
  ...LAMBDA_PROBES,
};

/** Runs every probe of a backend's services: each finds a difference exactly where the table has the backend. */
export function describeDifferences(name: BackendName, open: () => Promise<ProbedBackend> | ProbedBackend): void {
  // Where time cannot be moved, the others do not wait for the one that takes a minute.
  describe(`the table of differences on ${name}`, { concurrent: name !== "embedded" }, () => {
    let backend: ProbedBackend;
    let site: DifferenceSite;

    beforeAll(async () => {
      backend = await open();
      site = differenceSite(backend.endpoint, backend.pass);
    });
    afterAll(async () => {
      site.close();
      await backend.close?.();
    });

    for (const { id, service, does } of DIFFERENCES) {
      if (!SERVICES_OF[name].some((known) => known === service)) continue;
      const isKnown = differs(name, id);
      test(`${service}: it is ${isKnown ? "still" : "not"} so that ${does}`, async () => {
        expect({ row: id, isAsAws: await PROBES[id](site) }).toEqual({ row: id, isAsAws: !isKnown });
      });
    }
  });
}
