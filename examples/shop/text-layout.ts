/** The report fits a terminal of so many columns. */
const COLUMNS = 100;

/** Columns of equal width; numbers to the right, words to the left. */
export function formatTable(rows: readonly string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const isNumber =
        rows.length > 1 && rows.slice(1).every((other) => /^(\d+(\.\d+)?(\/\d|$)|-$)/.test(other[column] ?? ""));
      return isNumber ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
    });
    return `  ${cells.join("  ")}`.trimEnd();
  });
}

/** Breaks a text between words; each line begins with `indent`. A word longer than a line stays whole. */
export function wrapWords(text: string, indent = ""): string[] {
  const lines: string[] = [];
  let line = indent;
  for (const word of text.split(" ")) {
    if (line !== indent && line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = indent;
    }
    line += line === indent ? word : ` ${word}`;
  }
  return [...lines, line];
}
