/** Stands for a mail service. */
export async function deliver(
  mail: { readonly id: string; readonly to: string },
  signal?: AbortSignal,
): Promise<{ messageId: string }> {
  signal?.throwIfAborted();
  return { messageId: `<${mail.id}@example.com>` };
}
