import type { StackProps } from "aws-cdk-lib";
import { CfnOutput, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import { FunctionUrlAuthType } from "aws-cdk-lib/aws-lambda";
import { Architecture, RecursiveLoop, Runtime } from "aws-cdk-lib/aws-lambda";
import { NodejsFunction, OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import { BlockPublicAccess, Bucket, BucketEncryption } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";
import { fileURLToPath } from "node:url";
import type { LeftOut } from "./index.ts";
import { TaskQueue } from "./index.ts";

/** How the shop is deployed. */
export interface ShopStackProps extends StackProps {
  /** What an emulator refuses. */
  readonly without?: readonly LeftOut[] | undefined;
}

const sourceOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** The shop as an app would deploy it: an artifacts bucket, a queue with its workers, and a producer behind a function URL. */
export class ShopStack extends Stack {
  readonly queue: TaskQueue;

  constructor(scope: Construct, id: string, { without, ...props }: ShopStackProps = {}) {
    super(scope, id, props);
    const artifacts = new Bucket(this, "Artifacts", {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      encryption: BucketEncryption.S3_MANAGED,
      enforceSSL: true,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.queue = new TaskQueue(this, "Tasks", {
      queueName: "shop",
      workerEntry: sourceOf("functions/worker.ts"),
      workerProps: {
        timeout: Duration.seconds(60),
        environment: { ARTIFACTS_BUCKET: artifacts.bucketName },
        // Its ES module looks for its fonts beside itself, which a bundle has not; this one brings them along.
        bundling: { esbuildArgs: { "--alias:pdfkit": sourceOf("node_modules/pdfkit/js/pdfkit.standalone.js") } },
      },
      // Small, so that a demo on two cores or in a new account stays within its means.
      maxConcurrency: 2,
      removalPolicy: RemovalPolicy.DESTROY,
      without,
    });
    artifacts.grantReadWrite(this.queue);

    const producer = new NodejsFunction(this, "Producer", {
      entry: sourceOf("functions/producer.ts"),
      depsLockFilePath: sourceOf("package-lock.json"),
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      timeout: Duration.seconds(15),
      memorySize: 256,
      recursiveLoop: RecursiveLoop.ALLOW,
      bundling: {
        format: OutputFormat.ESM,
        bundleAwsSDK: true,
        minify: true,
        sourceMap: true,
        banner:
          'import { createRequire as createRequireForBundle } from "node:module"; const require = createRequireForBundle(import.meta.url);',
      },
    });
    this.queue.addProducer(producer);
    this.queue.grants.read(producer);
    const url = producer.addFunctionUrl({ authType: FunctionUrlAuthType.AWS_IAM });
    new CfnOutput(this, "Url", { value: url.url });
    new CfnOutput(this, "ArtifactsBucket", { value: artifacts.bucketName });
  }
}
