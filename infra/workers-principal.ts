import type { AddToPrincipalPolicyResult, IGrantable, IPrincipal, PolicyStatement } from "aws-cdk-lib/aws-iam";
import { PrincipalPolicyFragment } from "aws-cdk-lib/aws-iam";
import { DependencyGroup } from "constructs";
import { TasklaneError } from "../lib/task/errors.ts";

/** All workers of a queue as one principal: what it is granted reaches those that are there and those that are added later. */
export class WorkersPrincipal implements IPrincipal {
  readonly assumeRoleAction: string = "sts:AssumeRole";
  readonly #path: string;
  /** Functions may share a role, which then counts once. */
  readonly #roles = new Set<IPrincipal>();
  readonly #granted: { readonly statement: PolicyStatement; readonly dependable: DependencyGroup }[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  get grantPrincipal(): IPrincipal {
    return this;
  }

  get principalAccount(): string | undefined {
    const [first] = this.#roles;
    return first?.principalAccount;
  }

  /** For the policies of resources, which list whom they let in. */
  get policyFragment(): PrincipalPolicyFragment {
    if (this.#roles.size === 0) throw this.#withoutWorkers("It is named in the policy of a resource");
    const principals: Record<string, string[]> = {};
    for (const { policyFragment } of this.#roles)
      for (const [kind, names] of Object.entries(policyFragment.principalJson))
        principals[kind] = [...(principals[kind] ?? []), ...names];
    return new PrincipalPolicyFragment(principals);
  }

  addToPrincipalPolicy(statement: PolicyStatement): AddToPrincipalPolicyResult {
    const dependable = new DependencyGroup();
    this.#granted.push({ statement, dependable });
    for (const role of this.#roles) pass(role, statement, dependable);
    return { statementAdded: true, policyDependable: dependable };
  }

  /** Lets one more worker in on what was granted so far, and on what will be. */
  add(worker: IGrantable): void {
    const role = worker.grantPrincipal;
    if (this.#roles.has(role)) return;
    this.#roles.add(role);
    for (const { statement, dependable } of this.#granted) pass(role, statement, dependable);
  }

  /** @throws TasklaneError if something was granted and nobody got it */
  check(): void {
    if (this.#roles.size === 0 && this.#granted.length > 0) throw this.#withoutWorkers("It was granted permissions");
  }

  #withoutWorkers(what: string): TasklaneError {
    return new TasklaneError("DEFINITION_INVALID", {
      what: `${what}, but ${this.#path} has no worker that they could reach`,
      fix: "give workerEntry, call addWorker first, or grant the permissions to the role of your container",
    });
  }
}

function pass(role: IPrincipal, statement: PolicyStatement, dependable: DependencyGroup): void {
  const { policyDependable } = role.addToPrincipalPolicy(statement.copy());
  if (policyDependable !== undefined) dependable.add(policyDependable);
}
