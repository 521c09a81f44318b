// The tasks that `wit/world.wit` declares. Names are in camelCase here.

import invocations, { type SubmitOptions } from "wasm-runner:task/invocations@0.1.0";

import { middle, type Point } from "./geometry";

const options: SubmitOptions = { delayMs: null, priority: null, key: null, detached: false, labels: [] };

export const tasks = {
  greet(name: string): string {
    return `Hello, ${name}!`;
  },

  centroid(points: Point[]): Point {
    const centroid = middle(points);
    if (!centroid) {
      throw "no points have no centroid"; // the `err` of the WIT result
    }
    return centroid;
  },

  square(n: number): number {
    const square = n * n;
    if (square >= 2 ** 32) {
      throw new RangeError(`${square} needs more than 32 bits`);
    }
    return square;
  },

  sumOfSquares(count: number): number {
    // A list of arguments, in JSON, for each child.
    const args = Array.from({ length: count }, (_, index) => JSON.stringify([index + 1]));
    const children = invocations.submitAll("local:{{name}}/tasks.square", args, options);
    // While it waits, this task holds no thread.
    let sum = 0;
    for (const outcome of invocations.awaitAll(children)) {
      if (outcome.tag === "err") {
        throw `${outcome.val.tag}: ${outcome.val.val}`;
      }
      sum += JSON.parse(outcome.val) as number;
    }
    return sum;
  },
};
