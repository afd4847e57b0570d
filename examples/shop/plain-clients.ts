/** What somebody does who reaches the queue or the bucket past Tasklane. */
import { ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import type { Topology } from "../../lib/index.ts";

/** The embedded stack takes any credentials. */
const credentials = { accessKeyId: "local", secretAccessKey: "local" };

function connection(
  topology: Topology,
  service: "sqs" | "s3",
): { region: string; endpoint: string; credentials: typeof credentials } {
  const endpoint = typeof topology.endpoint === "object" ? topology.endpoint[service] : topology.endpoint;
  return { region: topology.region ?? "us-east-1", endpoint: endpoint ?? "", credentials };
}

/** Puts bytes on the queue of the normal lane that no version of Tasklane has ever written. */
export async function sendGarbage(topology: Topology): Promise<void> {
  const sqs = new SQSClient(connection(topology, "sqs"));
  const MessageBody = '{"order":"A-1013","hello":"I am from another system"}';
  await sqs.send(new SendMessageCommand({ QueueUrl: topology.lanes.normal?.url, MessageBody }));
  sqs.destroy();
}

/** The payloads in the bucket that belong to a task, by their sizes in bytes. */
export async function storedPayloadSizes(topology: Topology, taskId: string): Promise<number[]> {
  const s3 = new S3Client({ ...connection(topology, "s3"), forcePathStyle: true });
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: topology.bucket }));
  s3.destroy();
  return Contents.filter((object) => object.Key?.includes(taskId)).map((object) => object.Size ?? 0);
}
