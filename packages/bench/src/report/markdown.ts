/** A Markdown table whose columns also stand one below the other in a terminal; all but the first `left` to the right. */
export function markdownTable(
  heading: readonly string[],
  lines: readonly (readonly string[])[],
  left: number,
): string {
  const rows = [heading, ...lines].map((line) => line.map(escaped));
  const widths = heading.map((_, column) => Math.max(3, ...rows.map((line) => (line[column] ?? '').length)));
  const text = (line: readonly string[]) =>
    `| ${widths
      .map((width, column) => {
        const cell = line[column] ?? '';
        return column < left ? cell.padEnd(width) : cell.padStart(width);
      })
      .join(' | ')} |`;
  const rule = `|${widths
    .map((width, column) => (column < left ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`))
    .join('|')}|`;
  const [first, ...rest] = rows as [string[], ...string[][]];
  return [text(first), rule, ...rest.map(text)].map((line) => `${line}\n`).join('');
}

/** A cell is one line and holds no bar of its own. */
function escaped(cell: string): string {
  return cell.replaceAll(/\s+/g, ' ').replaceAll('|', '\\|').trim();
}
