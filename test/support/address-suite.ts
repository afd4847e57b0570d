import { connect } from "node:net";
import { describe, expect, inject, test } from "vitest";
import type { EmulatorName } from "../../scripts/emulators/versions.ts";
import { endpointOf } from "./emulator-backends.ts";

/** An emulator that the scripts started answers on 127.0.0.1 and on no other address. */
export function describeAddress(name: EmulatorName): void {
  describe(`the address of ${name}`, () => {
    test("is of this machine alone", async () => {
      // One that was there before is its owner's business.
      if (inject("emulators")[name]?.version === "as given") return;
      const { hostname, port } = new URL(endpointOf(name));
      expect(hostname).toBe("127.0.0.1");
      // A server on every interface answers at the loopback's other addresses too.
      const answers = await Promise.all(["127.0.0.1", "127.0.0.2", "::1"].map((host) => answersAt(host, Number(port))));
      expect(answers).toEqual([true, false, false]);
    });
  });
}

function answersAt(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
