import { App } from "aws-cdk-lib";
import { MailStack } from "./mail-stack.ts";

new MailStack(new App(), "Mails");
