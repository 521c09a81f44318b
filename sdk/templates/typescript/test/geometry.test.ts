import assert from "node:assert/strict";
import { test } from "node:test";

import { middle } from "../src/geometry";

test("the centroid is in the middle", () => {
  assert.deepEqual(middle([{ x: 0, y: 0 }, { x: 2, y: 4 }]), { x: 1, y: 2 });
});

test("no points have no centroid", () => {
  assert.equal(middle([]), undefined);
});
