import assert from "node:assert/strict";
import { test } from "node:test";

import { centroid, sumOfSquares } from "../src/app";

test("the centroid is in the middle", () => {
  assert.deepEqual(centroid([{ x: 0, y: 0 }, { x: 2, y: 4 }]), { x: 1, y: 2 });
});

test("no points have no centroid", () => {
  assert.throws(() => centroid([]), /no points/);
});

test("children run at once without a runner", () => {
  assert.equal(sumOfSquares(3), 14);
});
