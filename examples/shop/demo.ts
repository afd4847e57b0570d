/** The shop's night: 200 orders, two worker processes, and everything that can go wrong. Then the proof that nothing did. */
import { setTimeout as sleep } from "node:timers/promises";
import { TasklaneError } from "../../lib/index.ts";
import type { Client, EnqueuedTask } from "../../lib/index.ts";
import { startLocal } from "../../lib/testing/index.ts";
import { emptyOut } from "./artifacts.ts";
import { isCardToken, mendedCardToken } from "./card-token.ts";
import { checkAll } from "./check.ts";
import { journalEnqueue } from "./journals.ts";
import { makePhotos } from "./make-photos.ts";
import { archiveOrders } from "./nightly.ts";
import { readOrders } from "./orders.ts";
import type { Order } from "./orders.ts";
import { PILL_PHOTO } from "./photos.ts";
import { sendGarbage } from "./plain-clients.ts";
import { createProgressScreen, followRun } from "./progress.ts";
import { proveArtifacts } from "./prove-artifacts.ts";
import { proveTasks } from "./prove-tasks.ts";
import { printReport } from "./report.ts";
import { listDead, readLedger, recordRun } from "./run-record.ts";
import { SUPPLIER_URL_VARIABLE } from "./supplier-client.ts";
import { startSupplier, superviseWorkers } from "./supervisor.ts";
import { chargeCard, makeThumbnail, nightlyExport } from "./tasks.ts";

const DAY = "2026-11-23";
const WORKERS = 2;
/** Every tenth order is submitted twice, as by a second press of the button. */
const TWICE_EACH_NTH_ORDER = 10;
const SUBMIT_AT_ONCE = 10;
const LOOK_EACH_MS = 200;
/** After this time the report tells what is missing. */
const RUN_LIMIT_MS = 100_000;
/** So few tasks are asked for by name, in case the worker that ended them died before it could say so. */
const ASK_FOR_AT_MOST = 20;
const ASK_EACH_MS = 1_000;

const startedAtMs = performance.now();
const orders = readOrders(new URL("orders.csv", import.meta.url));
/** A charge, a thumbnail, an invoice and a receipt for each order; the export of the day; and the garbage. */
const totalTasks = orders.length * 4 + 2;

process.once("SIGINT", () => process.exit(130));
emptyOut();
await makePhotos();

const screen = createProgressScreen(totalTasks);
const supplier = await startSupplier();
const local = await startLocal();
const workers = superviseWorkers(WORKERS, { ...process.env, ...local.env, [SUPPLIER_URL_VARIABLE]: supplier.url });
try {
  screen.say(`${WORKERS} workers, the supplier and the embedded stack are up; submitting ${orders.length} orders`);
  await sendGarbage(local.topology);
  const submitted = await submitAll(local.client);
  await Promise.all([mendCard(submitted.mistyped), watchUntilDone(local.client, submitted.mistyped.id)]);

  const run = await recordRun({
    client: local.client,
    topology: local.topology,
    supplierUrl: supplier.url,
    exits: workers.exits,
    exportTaskId: submitted.exportTask.id,
  });
  const mischief = {
    orders: orders.length,
    second: submitted.second,
    pillTaskId: submitted.pill.id,
    mendedTaskId: submitted.mistyped.id,
  };
  const checks = [
    ...(await checkAll("the tasks", () => proveTasks(run, mischief))),
    ...(await proveArtifacts(orders, DAY)),
  ];
  printReport(run, checks, performance.now() - startedAtMs);
  if (checks.some(({ ok }) => !ok)) process.exitCode = 1;
} finally {
  await workers.stop();
  await supplier.stop();
  await local.close();
}

/** Submits the orders as the shop's pages would, some of them twice, and the export of the day. */
async function submitAll(client: Client): Promise<Submitted> {
  const first = await eachOrder(client, orders);
  const second = await eachOrder(
    client,
    orders.filter((_, index) => index % TWICE_EACH_NTH_ORDER === 3),
  );
  const exportTask = await client.enqueue(nightlyExport, { day: DAY, orders: archiveOrders(orders) });
  journalEnqueue(nightlyExport, exportTask);

  const pill = first.find(({ order }) => order.photo === PILL_PHOTO);
  const mistyped = first.find(({ order }) => !isCardToken(order.cardToken));
  if (pill === undefined || mistyped === undefined) throw new Error("orders.csv lacks the pill or the mistyped card");
  return {
    pill: pill.thumbnail,
    mistyped: mistyped.charge,
    second: second.flatMap(({ charge, thumbnail }) => [charge, thumbnail]),
    exportTask,
  };
}

interface Submitted {
  readonly pill: EnqueuedTask;
  readonly mistyped: EnqueuedTask<typeof chargeCard>;
  readonly second: readonly EnqueuedTask[];
  readonly exportTask: EnqueuedTask;
}

interface SubmittedOrder {
  readonly order: Order;
  readonly charge: EnqueuedTask<typeof chargeCard>;
  readonly thumbnail: EnqueuedTask<typeof makeThumbnail>;
}

async function eachOrder(client: Client, batch: readonly Order[]): Promise<SubmittedOrder[]> {
  const submitted: SubmittedOrder[] = [];
  for (let first = 0; first < batch.length; first += SUBMIT_AT_ONCE) {
    submitted.push(
      ...(await Promise.all(batch.slice(first, first + SUBMIT_AT_ONCE).map((order) => submitOrder(client, order)))),
    );
  }
  return submitted;
}

/** What happens when a customer presses the button. */
async function submitOrder(client: Client, order: Order): Promise<SubmittedOrder> {
  const [charge, thumbnail] = await Promise.all([
    client.enqueue(chargeCard, order, { meta: { by: "checkout" } }),
    client.enqueue(makeThumbnail, { orderId: order.id, photo: order.photo }, { meta: { by: "checkout" } }),
  ]);
  journalEnqueue(chargeCard, charge);
  journalEnqueue(makeThumbnail, thumbnail);
  return { order, charge, thumbnail };
}

/** Waits until the charge of the mistyped card is dead, and gives it another life with the right card. */
async function mendCard(charge: EnqueuedTask<typeof chargeCard>): Promise<void> {
  const order = orders.find(({ cardToken }) => !isCardToken(cardToken));
  try {
    await charge.result({ timeout: "60s" });
  } catch (error) {
    if (order !== undefined && TasklaneError.is(error, "TASK_DEAD")) {
      await charge.redrive({ input: { ...order, cardToken: mendedCardToken(order.cardToken) } });
      screen.say(`${order.id} is dead: its card was mistyped; redriven with the right one`);
    } else {
      screen.say(`the mistyped card was not mended: ${String(error)}`);
    }
  }
}

/** Shows progress until every task has ended; half-way, kills a worker in the middle of its work. */
async function watchUntilDone(client: Client, mistypedTaskId: string): Promise<void> {
  const run = followRun(new Set([mistypedTaskId]));
  let killedPid: number | undefined;
  let askedAtMs = 0;
  let exitsTold = 0;
  for (;;) {
    const standing = run.refresh();
    screen.draw(standing);
    for (const { pid, signal, code } of workers.exits.slice(exitsTold)) {
      exitsTold += 1;
      screen.say(`worker ${pid} went down (${signal ?? `code ${code}`}) and is started again`);
    }
    if (standing.done >= totalTasks || performance.now() - startedAtMs > RUN_LIMIT_MS) break;
    if (killedPid === undefined && standing.done >= totalTasks / 2) killedPid = workers.killOne();
    if (totalTasks - standing.done <= ASK_FOR_AT_MOST && performance.now() - askedAtMs > ASK_EACH_MS) {
      askedAtMs = performance.now();
      for (const { id } of await listDead(client)) run.noteEnd(id, "dead");
      for (const [id, { state }] of await readLedger(client, run.pending()))
        if (state !== "queued" && state !== "running") run.noteEnd(id, state);
    }
    await sleep(LOOK_EACH_MS);
  }
  screen.end();
}
