/** One line of the proof. */
export interface Check {
  readonly ok: boolean;
  readonly claim: string;
  /** What was found, where it is not what was claimed. */
  readonly found: string;
}

const SHOWN_PROBLEMS = 3;

/** A claim that holds if nothing speaks against it. */
export function checkNone(claim: string, problems: readonly string[]): Check {
  const more = problems.length > SHOWN_PROBLEMS ? ` and ${problems.length - SHOWN_PROBLEMS} more` : "";
  return { ok: problems.length === 0, claim, found: `${problems.slice(0, SHOWN_PROBLEMS).join("; ")}${more}` };
}

/** A claim that holds if a value is the expected one. */
export function checkEqual(claim: string, found: unknown, expected: unknown): Check {
  const [has, wants] = [JSON.stringify(found), JSON.stringify(expected)];
  return { ok: has === wants, claim, found: `found ${has}, expected ${wants}` };
}

/** Claims that cannot even be looked at, as when a file is missing, do not hold. */
export async function checkAll(about: string, prove: () => Check[] | Promise<Check[]>): Promise<Check[]> {
  try {
    return await prove();
  } catch (error) {
    return [{ ok: false, claim: about, found: error instanceof Error ? error.message : String(error) }];
  }
}

/** Compares what is found for each order with what is expected, and tells of the orders where they differ. */
export function differences<T extends { id: string }>(
  items: readonly T[],
  found: (item: T) => unknown,
  expected: (item: T) => unknown,
): string[] {
  return items.flatMap((item) => {
    try {
      const check = checkEqual(item.id, found(item), expected(item));
      return check.ok ? [] : [`${item.id}: ${check.found}`];
    } catch (error) {
      return [`${item.id}: ${error instanceof Error ? error.message : String(error)}`];
    }
  });
}
