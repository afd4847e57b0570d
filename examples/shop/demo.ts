/** The shop's night: 200 orders, two worker processes, and everything that can go wrong. Then the proof that nothing did. */
import { setTimeout as sleep } from "node:timers/promises";
import { TasklaneError } from "../../lib/index.ts";
import { startLocal } from "../../lib/testing/index.ts";
import { emptyOut } from "./artifacts.ts";
import { isCardToken, mendedCardToken } from "./card-token.ts";
import { checkAll } from "./check.ts";
import { makePhotos } from "./make-photos.ts";
import { readOrders } from "./orders.ts";
import { PILL_PHOTO } from "./photos.ts";
import { sendGarbage } from "./plain-clients.ts";
import { createProgressScreen, followRun } from "./progress.ts";
import { proveArtifacts } from "./prove-artifacts.ts";
import { proveTasks } from "./prove-tasks.ts";
import { printReport } from "./report.ts";
import { listDead, readLedger, recordRun } from "./run-record.ts";
import { submitExport, submitOrders } from "./submit.ts";
import type { SubmittedOrder } from "./submit.ts";
import { SUPPLIER_URL_VARIABLE } from "./supplier-client.ts";
import { startSupplier, superviseWorkers } from "./supervisor.ts";
import { chargeCard } from "./tasks.ts";

const DAY = "2026-11-23";
const WORKERS = 2;
/** Every tenth order is submitted twice, as by a second press of the button. */
const TWICE_EACH_NTH_ORDER = 10;
const LOOK_EACH_MS = 200;
/** After this time the report tells what is missing. */
const RUN_LIMIT_MS = 100_000;
/** So few tasks are asked for by name, in case the worker that ended them died before it could say so. */
const ASK_FOR_AT_MOST = 20;
const ASK_EACH_MS = 1_000;

const startedAtMs = performance.now();
const orders = readOrders(new URL("orders.csv", import.meta.url));
/** A charge, a thumbnail, an invoice and a receipt for each order, and the export of the day. */
const totalTasks = orders.length * 4 + 1;
/** The garbage is not a task, but it is recorded as dead too. */
const GARBAGE_MESSAGES = 1;
const screen = createProgressScreen(totalTasks);

process.once("SIGINT", () => {
  screen.say("stopped by Ctrl-C: nothing is proved, and the other processes end with this one");
  process.exit(130);
});
emptyOut();
await makePhotos();

const supplier = await startSupplier();
const local = await startLocal();
const workers = superviseWorkers(WORKERS, { ...process.env, ...local.env, [SUPPLIER_URL_VARIABLE]: supplier.url });
try {
  screen.say(`the embedded stack, the supplier and ${WORKERS} workers are up; submitting ${orders.length} orders`);
  screen.say("one order's thumbnail is a pill: a task that kills its process, each time it is started");
  const [shop] = await Promise.all([playShop(), watchUntilDone()]);
  const run = await recordRun({
    client: local.client,
    topology: local.topology,
    supplierUrl: supplier.url,
    exits: workers.exits,
    exportTaskId: shop.exportTaskId,
  });
  const checks = [
    ...(await checkAll("the tasks", () => proveTasks(run, shop))),
    ...(await proveArtifacts(orders, DAY)),
  ];
  printReport(run, checks, performance.now() - startedAtMs);
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  await workers.stop();
  await supplier.stop();
  await local.close();
}

/** Submits the orders, some of them twice; puts garbage on a queue; closes the day; mends the mistyped card. */
async function playShop() {
  const { client, topology } = local;
  const first = await submitOrders(client, orders);
  const second = await submitOrders(
    client,
    orders.filter((_, index) => index % TWICE_EACH_NTH_ORDER === 3),
  );
  await sendGarbage(topology);
  const exportTask = await submitExport(client, DAY, orders);

  const pill = first.find(({ order }) => order.photo === PILL_PHOTO);
  const mistyped = first.find(({ order }) => !isCardToken(order.cardToken));
  if (pill === undefined || mistyped === undefined) throw new Error("orders.csv lacks the pill or the mistyped card");
  await mendCard(mistyped);
  return {
    orders: orders.length,
    second: second.flatMap(({ charge, thumbnail }) => [charge, thumbnail]),
    pillTaskId: pill.thumbnail.id,
    mendedTaskId: mistyped.charge.id,
    exportTaskId: exportTask.id,
  };
}

/** Waits until the charge of the mistyped card is dead, and gives it another life with the right card. */
async function mendCard({ order, charge }: SubmittedOrder): Promise<void> {
  try {
    await charge.result({ timeout: "60s" });
  } catch (error) {
    if (!TasklaneError.is(error, "TASK_DEAD")) return screen.say(`${order.id} was not mended: ${String(error)}`);
    await charge.redrive({ input: { ...order, cardToken: mendedCardToken(order.cardToken) } });
    screen.say(`${order.id} is dead: its card was mistyped; redriven with the right one`);
  }
}

/** Shows progress until every task has ended; half-way, kills a worker in the middle of its work. */
async function watchUntilDone(): Promise<void> {
  const run = followRun({ redriven: chargeCard.name });
  let askedAtMs = 0;
  let exitsTold = 0;
  for (;;) {
    const standing = run.refresh();
    const { done, buried } = standing;
    screen.draw(standing, workers.exits.length);
    for (const { pid, signal, code } of workers.exits.slice(exitsTold)) {
      exitsTold += 1;
      screen.say(`worker ${pid} went down (${signal ?? `code ${code}`}) and is started again`);
    }
    const allEnded = done >= totalTasks && buried >= GARBAGE_MESSAGES;
    if (allEnded || performance.now() - startedAtMs > RUN_LIMIT_MS) break;
    // Asked anew each time: the worker that was to be killed may have fallen to the pill at the same moment.
    if (done >= totalTasks / 2 && !workers.exits.some(({ signal }) => signal === "SIGKILL")) workers.killOne();
    if (totalTasks - done <= ASK_FOR_AT_MOST && performance.now() - askedAtMs > ASK_EACH_MS) {
      askedAtMs = performance.now();
      for (const task of await listDead(local.client)) run.noteEnd(task);
      for (const task of (await readLedger(local.client, run.pending())).values()) run.noteEnd(task);
    }
    await sleep(LOOK_EACH_MS);
  }
  screen.end();
}
