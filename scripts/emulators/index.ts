import { checkServices } from "./check-services.ts";
import { startDynamodbLocal } from "./dynamodb-local.ts";
import { startElasticmq } from "./elasticmq.ts";
import type { Emulator, StartOptions } from "./emulator.ts";
import { startLocalstack } from "./localstack.ts";
import { startMinistack } from "./ministack.ts";
import type { EmulatorName } from "./versions.ts";

export type { Emulator } from "./emulator.ts";

const STARTERS: Readonly<Record<EmulatorName, (options: StartOptions) => Promise<Emulator>>> = {
  localstack: startLocalstack,
  ministack: startMinistack,
  "dynamodb-local": startDynamodbLocal,
  elasticmq: startElasticmq,
};

/** The services that each one has. */
const SERVICES = {
  localstack: ["sqs", "dynamodb", "s3"],
  ministack: ["sqs", "dynamodb", "s3"],
  "dynamodb-local": ["dynamodb"],
  elasticmq: ["sqs"],
} as const;

/**
 * Installs an emulator if it is missing, starts it, and makes one real call to each of its services: a health page proves nothing.
 *
 * @throws Error that says what is missing, or shows the end of the emulator's log
 */
export async function startEmulator(name: EmulatorName, options: StartOptions = {}): Promise<Emulator> {
  const emulator = await STARTERS[name](options);
  try {
    await checkServices(emulator.endpoint, SERVICES[name]);
  } catch (error) {
    await emulator.stop();
    throw error;
  }
  return emulator;
}
