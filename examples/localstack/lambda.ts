import { createLambdaWorker } from "tasklane/lambda";
import { handlers } from "./mails.ts";

export const handler = createLambdaWorker({ handlers });
