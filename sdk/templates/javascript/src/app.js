// The tasks that `wit/world.wit` declares. Names are in camelCase here.

import invocations from "wasm-runner:task/invocations@0.1.0";

import { middle } from "./geometry.js";

const options = { delayMs: null, priority: null, key: null, detached: false, labels: [] };

export const tasks = {
  greet(name) {
    return `Hello, ${name}!`;
  },

  centroid(points) {
    const centroid = middle(points);
    if (!centroid) {
      throw "no points have no centroid"; // the `err` of the WIT result
    }
    return centroid;
  },

  square(n) {
    const square = n * n;
    if (square >= 2 ** 32) {
      throw new RangeError(`${square} needs more than 32 bits`);
    }
    return square;
  },

  sumOfSquares(count) {
    // A list of arguments, in JSON, for each child.
    const args = Array.from({ length: count }, (_, index) => JSON.stringify([index + 1]));
    const children = invocations.submitAll("local:{{name}}/tasks.square", args, options);
    // While it waits, this task holds no thread.
    let sum = 0;
    for (const { tag, val } of invocations.awaitAll(children)) {
      if (tag === "err") {
        throw `${val.tag}: ${val.val}`;
      }
      sum += JSON.parse(val);
    }
    return sum;
  },
};
