import { vi } from "vitest";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { describeDifferences } from "../support/difference-suite.ts";

describeDifferences("embedded", async () => {
  const { endpoints, close } = await startEmbeddedStack();
  return {
    endpoint: endpoints,
    close: async () => {
      vi.useRealTimers();
      await close();
    },
    // The emulators live in this process and read its time, so nothing has to be waited for.
    pass: (ms) => {
      const then = Date.now() + ms;
      vi.useFakeTimers({ toFake: ["Date"], shouldAdvanceTime: true, now: then });
      return Promise.resolve();
    },
  };
});
