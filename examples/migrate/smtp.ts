/** Stands for a mail service. */
export async function deliver(
  mail: { readonly id: string; readonly to: string },
  signal?: AbortSignal,
): Promise<{ messageId: string }> {
  signal?.throwIfAborted();
  if (!mail.to.includes("@")) throw new Error(`${mail.to} is no address`);
  return { messageId: `<${mail.id}@example.com>` };
}
