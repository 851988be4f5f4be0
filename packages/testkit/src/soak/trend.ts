/** A value of a series at a time, ms. */
export interface Point {
  readonly atMs: number;
  readonly value: number;
}

/**
 * The slope of a series in units an hour by the method of Theil and Sen: the median of the slopes of all pairs, which a
 * fourth of outliers does not move. 0 for less than two points.
 */
export function slopePerHour(points: readonly Point[]): number {
  const slopes: number[] = [];
  for (const [index, later] of points.entries()) {
    for (const earlier of points.slice(0, index)) {
      const ms = later.atMs - earlier.atMs;
      if (ms > 0) slopes.push(((later.value - earlier.value) / ms) * 3_600_000);
    }
  }
  return median(slopes);
}

/** The lowest point of each window of `windowMs`: what a collector leaves, without what it will collect. */
export function floors(points: readonly Point[], windowMs: number): Point[] {
  const lowest = new Map<number, Point>();
  for (const point of points) {
    const window = Math.floor(point.atMs / windowMs);
    const known = lowest.get(window);
    if (known === undefined || point.value < known.value) lowest.set(window, point);
  }
  return [...lowest.values()];
}

/** The middle of the values, 0 for none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
