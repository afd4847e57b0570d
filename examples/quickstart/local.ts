import { writeFileSync } from "node:fs";
import { startLocal } from "tasklane/testing";

// SQS, DynamoDB and S3 in this process, on 127.0.0.1, until Ctrl-C. What is in them is gone then.
const local = await startLocal();
writeFileSync("topology.json", JSON.stringify(local.topology));
console.log("The local stack is up: topology.json says where.");
