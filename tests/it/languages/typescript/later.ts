// Tasks that wait for several things at once.

import { asCompleted, gather, Refused, remote, submit, submitAll, submitWith } from "wasm-runner";
import type { Throws, u32 } from "wasm-runner";

export async function half(n: u32): Promise<Throws<u32, string>> {
  await null;
  if (n % 2 === 1) throw `${n} is odd`;
  return n / 2;
}

const halfElsewhere = remote<(n: u32) => Promise<Throws<u32, string>>>("local:first-steps/tasks.half");
const napElsewhere = remote<(ms: u32) => u32>("first-steps::nap");

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export async function nap(ms: u32): Promise<u32> {
  await sleep(ms);
  return ms;
}

export async function halves(count: u32): Promise<u32[]> {
  return Promise.all(Array.from({ length: count }, (_, n) => submit(half, 2 * n)));
}

/** Each step of a chain waits for the one before, and no chain for another. */
export async function chains(count: u32): Promise<u32[]> {
  const chain = async (n: number) => {
    let steps = 0;
    for (; n > 1; steps += 1) n = await submit(half, n);
    return steps;
  };
  return Promise.all(Array.from({ length: count }, (_, k) => chain(2 ** k)));
}

export async function both(a: u32, b: u32): Promise<Throws<u32, string>> {
  const [first, second] = await Promise.all([submit(half, a), submit(half, b)]);
  return first + second;
}

export async function inOrder(naps: u32[]): Promise<u32[]> {
  const found: number[] = [];
  await Promise.all(naps.map((ms) => submit(nap, ms).then((value) => found.push(value))));
  return found;
}

export async function impatient(ms: u32): Promise<string> {
  const slow = submit(nap, ms);
  const tooLate = sleep(100).then(() => "gave up");
  const said = await Promise.race([slow, tooLate]);
  // It goes on until somebody cancels it.
  return said === "gave up" ? `${said}, ${slow.cancel()}` : `${said}`;
}

/** One child under two names, each awaited twice. */
export async function twice(n: u32): Promise<u32[]> {
  const [one, same] = [submitWith({ key: "the only one" }, half, n), submitWith({ key: "the only one" }, half, n)];
  if (one.id !== same.id) throw new Error("two children");
  return Promise.all([one, same, one, same]);
}

export async function bothKinds(n: u32): Promise<u32[]> {
  const waited = [submit(half, n).result(), ...gather(submitAll(half, [[n]])), napElsewhere(1)];
  const [child] = asCompleted([submit(half, n)]);
  return [...waited, await submit(half, n), await half(n), await halfElsewhere(n), child!.result()];
}

async function* counted(count: number) {
  for (let n = 0; n < count; n += 1) yield await submit(half, 2 * n);
}

/** What the language has besides. */
export async function language(n: u32): Promise<string[]> {
  const said: string[] = [];
  for await (const one of counted(n)) said.push(`${one}`);
  const settled = await Promise.allSettled([submit(half, 1), half(2), 3, Promise.reject(new Error("no"))]);
  said.push(...settled.map((one) => (one.status === "fulfilled" ? `${one.value}` : `${one.reason}`)));
  said.push(`${await Promise.any([half(1), half(4)])}`);
  await Promise.any([half(1)]).catch((error) => said.push(error.errors.join()));
  await half(3).finally(() => said.push("finally")).catch((error) => said.push(error));
  queueMicrotask(() => said.push("microtask"));
  clearTimeout(setTimeout(() => said.push("never"), 1));
  await sleep(20);
  return said;
}

export async function stuck(): Promise<void> {
  await new Promise(() => {});
}

export async function refused(): Promise<string> {
  const nobody = submit(half, 2);
  Object.assign(nobody, { id: "01900000-0000-7000-8000-000000000000" });
  return nobody.then(String, (error) => (error instanceof Refused ? error.kind : "not refused"));
}

export function plain(n: u32): u32 {
  return submit(half, n).result();
}
