import type { IPostProcessor, IResolvable, IResolveContext } from "aws-cdk-lib";
import { DefaultTokenResolver, Reference, StringConcat, Tokenization } from "aws-cdk-lib";
import { CfnAlias, CfnFunction, CfnVersion } from "aws-cdk-lib/aws-lambda";
import type { IConstruct } from "constructs";

/** Notes what a value refers to while it is resolved. */
class ReferenceCollector extends DefaultTokenResolver {
  readonly targets: Set<IConstruct> = new Set();

  constructor() {
    super(new StringConcat());
  }

  override resolveToken(token: IResolvable, context: IResolveContext, postProcessor: IPostProcessor): unknown {
    if (Reference.isReference(token)) this.targets.add(token.target);
    return super.resolveToken(token, context, postProcessor);
  }
}

/** The constructs that a value of a resource refers to, in whatever part of it. */
export function referencesOf(value: unknown, scope: IConstruct): ReadonlySet<IConstruct> {
  const resolver = new ReferenceCollector();
  Tokenization.resolve(value, { scope, resolver, preparing: true });
  return resolver.targets;
}

/** The function of this app that a name stands for, be it of the function itself, a version or an alias; else it is not known. */
export function functionBehind(name: unknown, scope: IConstruct): CfnFunction | undefined {
  for (const target of referencesOf(name, scope)) {
    if (target instanceof CfnFunction) return target;
    if (target instanceof CfnVersion || target instanceof CfnAlias) return functionBehind(target.functionName, target);
  }
  return undefined;
}
