/* Compile-only: the files of this folder are checked by `npm run check:types` and never run. */

/** Tells whether two types are the same, `any` and `unknown` told apart. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only if its argument is `true`. */
export declare function check<T extends true>(): T;
