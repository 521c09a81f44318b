// What needs no runner can be tested without one.

/** The middle of some points; `undefined` if there are none. */
export function middle(points) {
  if (points.length === 0) {
    return undefined;
  }
  const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / points.length;
  return { x: mean(points.map(({ x }) => x)), y: mean(points.map(({ y }) => y)) };
}
