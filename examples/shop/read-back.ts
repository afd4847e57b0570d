/** Reads artifacts back as somebody would who never saw the code that made them. */
import { inflateSync } from "node:zlib";

/** The pieces of text that a PDF draws, in the order in which it draws them. */
export function readPdfText(pdf: Buffer): string[] {
  const texts: string[] = [];
  const source = pdf.toString("latin1");
  for (const match of source.matchAll(/\/Length (\d+)[^>]*>>\s*stream\r?\n/g)) {
    const start = match.index + match[0].length;
    const content = inflateSync(pdf.subarray(start, start + Number(match[1]))).toString("latin1");
    for (const [, array = ""] of content.matchAll(/\[([^\]]*)\] TJ/g)) {
      const hex = [...array.matchAll(/<([0-9a-f]*)>/gi)].map(([, digits]) => digits).join("");
      texts.push(Buffer.from(hex, "hex").toString("latin1"));
    }
  }
  return texts;
}

/** The parts of a message that the proof looks at. */
export interface Message {
  readonly to: string;
  readonly messageId: string;
  readonly attachment: Buffer;
}

/** Takes a message with one attached PDF apart. */
export function readMessage(eml: Buffer): Message {
  const source = eml.toString("latin1");
  const head = source.slice(0, source.indexOf("\r\n\r\n")).replaceAll(/\r\n[ \t]+/g, " ");
  const header = (name: string): string => new RegExp(`^${name}: (.*)$`, "im").exec(head)?.[1]?.trim() ?? "";
  const boundary = /boundary="([^"]+)"/.exec(header("Content-Type"))?.[1] ?? "";
  const part = source.split(`--${boundary}`).find((text) => /^\r\nContent-Type: application\/pdf/i.test(text)) ?? "";
  return {
    to: /<([^>]+)>$/.exec(header("To"))?.[1] ?? "",
    messageId: header("Message-ID"),
    attachment: Buffer.from(part.slice(part.indexOf("\r\n\r\n")), "base64"),
  };
}
