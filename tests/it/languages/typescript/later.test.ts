// The same tasks without a runner, as tests of a project call them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { submit } from "wasm-runner";
import { both, chains, half, halves, impatient, inOrder } from "../src/app";

test("children run in the event loop of the test", async () => {
  assert.deepEqual(await halves(4), [0, 1, 2, 3]);
  assert.deepEqual(await chains(4), [0, 1, 2, 3]);
  assert.equal(await both(2, 4), 3);
  assert.deepEqual(await inOrder([40, 1, 20]), [1, 20, 40]);
});

test("errors are thrown where it is awaited", async () => {
  await assert.rejects(both(2, 3), (error) => error === "3 is odd");
});

test("an await that is given up cancels nothing", async () => {
  assert.equal(await impatient(500), "gave up, false");
});

test("a result that is not there yet is not waited for", () => {
  assert.throws(() => submit(half, 4).result(), /`await` it/);
});
