/**
 * Lets a suite run on AWS only where somebody asked for it, and says what it costs before anything is made.
 *
 * @throws Error without `TASKLANE_AWS=1`
 */
export function askForAws(what: string, dollars: number): void {
  if (process.env["TASKLANE_AWS"] !== "1")
    throw new Error("set TASKLANE_AWS=1, AWS_REGION and credentials of an account for tests");
  console.log(`This runs on AWS and costs about ${dollars.toFixed(2)} $: ${what}.`);
}
