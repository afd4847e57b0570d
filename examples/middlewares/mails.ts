/** A mail as the queue's producers send it. */
export interface Mail {
  id: string;
  to: string;
}

/** Stands for a mail service: what went out, in its order. */
export const outbox: Mail[] = [];

export async function sendMail(mail: Mail): Promise<{ messageId: string }> {
  if (!mail.to.includes("@")) throw new Error(`${mail.to} is no address`);
  outbox.push(mail);
  return { messageId: `message of ${mail.id}` };
}

export function parseMail(body: string): Mail {
  const mail: Mail = JSON.parse(body);
  return mail;
}
