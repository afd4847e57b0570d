import { writeFileSync } from "node:fs";
import { provision } from "tasklane";

// Makes queues, table and bucket in your AWS account, or where AWS_ENDPOINT_URL points. Again changes nothing.
const topology = await provision({ queue: "shop" }, { endpoint: process.env["AWS_ENDPOINT_URL"] });
writeFileSync("topology.json", JSON.stringify(topology));
console.log("The queue is there: topology.json says where.");
