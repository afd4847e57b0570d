/** A worker process of the crash tests. It finds its queue in `TASKLANE_TOPOLOGY`, and how to behave in `CRASH_WORKER`. */
import { makeClients } from "../../lib/aws/clients.ts";
import { createWorker } from "../../lib/index.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import type { SdkClients } from "../../lib/index.ts";
import type { Report } from "./journal.ts";
import { append } from "./journal.ts";
import { makeHandlers } from "./tasks.ts";
import type { KillPoint, WorkerSettings } from "./worker-settings.ts";

const PULSE_MS = 100;
/** A pulse that comes this late tells that the event loop stood still, or the whole process. */
const STALL_MS = 500;

const settings: WorkerSettings = JSON.parse(process.env["CRASH_WORKER"] ?? "{}");

type Said<Line> = Line extends unknown ? Omit<Line, "pid"> : never;

function report(line: Said<Report>): void {
  append(settings.reportsPath, { ...line, pid: process.pid });
}

/** Shows the supervisor that the event loop turns, and notes when it did not. */
function pulse(): void {
  let lastAt = performance.now();
  setInterval(() => {
    const now = performance.now();
    if (now - lastAt > STALL_MS) report({ type: "stalled", ms: Math.round(now - lastAt) });
    lastAt = now;
    process.send?.("alive", () => undefined);
  }, PULSE_MS).unref();
}

/** Clients that kill this process right before or right after one of its remote calls. */
function mortalClients(point: KillPoint): SdkClients {
  let calls = 0;
  const die = (name: string, when: KillPoint["when"]): void => {
    report({ type: "suicide", call: point.call, when, name });
    process.kill(process.pid, "SIGKILL");
  };
  const mortal =
    <Args, Answer extends { output: object }>(
      next: (args: Args) => Promise<Answer>,
      { commandName = "" }: { commandName?: string },
    ) =>
    async (args: Args): Promise<Answer> => {
      // An empty receive changes nothing, so only one that brought messages is a point in a task's life.
      const isReceive = commandName === "ReceiveMessageCommand";
      const sent = isReceive ? 0 : ++calls;
      if (sent === point.call && point.when === "before") die(commandName, "before");
      const answer = await next(args);
      const answered = isReceive && "Messages" in answer.output && answer.output.Messages ? ++calls : sent;
      if (answered === point.call && (isReceive || point.when === "after")) die(commandName, "after");
      return answer;
    };
  const clients = makeClients(parseTopology(process.env["TASKLANE_TOPOLOGY"] ?? "", "TASKLANE_TOPOLOGY"));
  clients.sqs.middlewareStack.add(mortal, { step: "initialize" });
  clients.dynamodb.middlewareStack.add(mortal, { step: "initialize" });
  clients.s3.middlewareStack.add(mortal, { step: "initialize" });
  return clients;
}

// A worker without its supervisor would go on for ever.
process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
// Told before anything runs: a process that a task blocks right away must not look as if it were still starting.
await new Promise<void>((resolve) => process.send?.("alive", () => resolve()));
process.channel?.unref();
pulse();

const end = await createWorker({
  handlers: makeHandlers(settings.effectsPath, settings.dir),
  lease: settings.lease,
  clockSkew: settings.clockSkew,
  concurrency: settings.concurrency,
  lanes: settings.lanes,
  shutdownGrace: settings.shutdownGrace,
  scheduler: settings.killAt === undefined,
  sdk: settings.killAt === undefined ? undefined : mortalClients(settings.killAt),
  log: () => undefined,
  onEvent: report,
}).run();
report({ type: "run-resolved", ...end });
