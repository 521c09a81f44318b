// The tasks of this project: each exported function is a task, with the function's types.

import { gather, submit, type Throws, type u32, type u64 } from "wasm-runner";

export interface Point {
  x: number;
  y: number;
}

/** A greeting. */
export function greet(name: string): string {
  return `Hello, ${name}!`;
}

/** The middle of some points. For no points it throws a text, which the caller gets, too. */
export function centroid(points: Point[]): Throws<Point, string> {
  if (points.length === 0) {
    throw "no points have no centroid";
  }
  const mean = (numbers: number[]) => numbers.reduce((sum, number) => sum + number, 0) / points.length;
  return { x: mean(points.map(({ x }) => x)), y: mean(points.map(({ y }) => y)) };
}

/** `n` times `n`. If that needs more than 32 bits it traps, as it does for anything thrown that is not declared. */
export function square(n: u32): u32 {
  const square = n * n;
  if (square >= 2 ** 32) {
    throw new RangeError(`${square} needs more than 32 bits`);
  }
  return square;
}

/** 1² + 2² + … + `count`². Each square is a child invocation, and all of them run at the same time. */
export function sumOfSquares(count: u32): u64 {
  const children = Array.from({ length: count }, (_, index) => submit(square, index + 1));
  // While it waits, this task holds no thread.
  return gather(children).reduce((sum, square) => sum + square, 0);
}
