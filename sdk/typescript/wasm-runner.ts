// Tasks for `run-wasm-runner` from plain TypeScript functions. `run-wasm-runner build` puts this file into
// `build/sdk`, and makes WIT of the types of the functions that `src/app.ts` exports. Outside of a component, in a test, a
// submitted task runs at once, an `async` one in the event loop of the test.

/** Numbers of WIT; a `number` alone is an `f64`. Those of 64 bits are exact up to 2^53. */
export type u8 = number;
export type u16 = number;
export type u32 = number;
export type u64 = number;
export type s8 = number;
export type s16 = number;
export type s32 = number;
export type s64 = number;
export type f32 = number;
export type f64 = number;
/** A text of one character. */
export type char = string;

/** The result of a task that returns a `T` or throws an `E`. An await of the task throws that `E`. */
// eslint-disable-next-line @typescript-eslint/no-unused-vars
export type Throws<T, E> = T;

/** Any of some names at once: `type Access = Flags<"read" | "write">` is `{ read: boolean; write: boolean }`. */
export type Flags<Name extends string> = Record<Name, boolean>;

export type FailureKind =
  | "returned"
  | "trapped"
  | "timed-out"
  | "limit-exceeded"
  | "cancelled"
  | "skipped"
  | "lost";

/** A child ended without a value, and not with an error that it declares. */
export class TaskFailed extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
  ) {
    super(`${kind}: ${message}`);
    this.name = "TaskFailed";
  }
}

/** The runner refused a request, and changed nothing. */
export class Refused extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(`${kind}: ${message}`);
    this.name = "Refused";
  }
}

export interface Options {
  delayMs?: number;
  priority?: number;
  key?: string;
  detached?: boolean;
  labels?: [string, string][];
}

/** A type as the build has read it. */
export type Kind =
  | { is: "plain" | "float" | "bytes" }
  | { is: "list" | "option"; of: Kind }
  | { is: "tuple"; of: Kind[] }
  | { is: "flags"; of: [field: string, name: string][] }
  | { is: "record"; of: [field: string, name: string, kind: Kind][] }
  | { is: "variant"; of: Record<string, Kind | null> };

export interface Signature {
  id: string;
  parameters: Kind[];
  result: Kind | null;
  error: Kind | null;
  isAsync: boolean;
}

interface Case {
  tag: string;
  val: string;
}
type HostOutcome = { tag: "ok"; val: string } | { tag: "err"; val: Case };
interface Host {
  submitAll(task: string, args: string[], options: unknown): string[];
  awaitAll(ids: string[]): HostOutcome[];
  awaitAny(ids: string[]): [number, HostOutcome];
  awaitAnyWithin(ids: string[], timeoutMs: number): [number, HostOutcome] | null;
  cancel(id: string): boolean;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Task<A extends any[], R> = (...args: A) => R;
type Outcome = { ok: true; value: unknown } | { ok: false; thrown: unknown };

let host: Host | undefined;
const signatures = new Map<unknown, Signature>();
/** Signatures of other components' tasks, by id; and the id of each stub that `remote` made. */
const remotes = new Map<string, Signature>();
const stubs = new Map<unknown, string>();

interface Waiter {
  invocation: Invocation<unknown>;
  resolve: () => void;
  reject: (reason: unknown) => void;
}
/** Waiters, by the id of the invocation: with a key two submits may be one invocation. */
const waiters = new Map<string, Waiter[]>();

/** Registers the tasks. The entry of the component, which the build makes, calls this. */
export function connect(runner: Host, tasks: [unknown, Signature][], others: Signature[]): void {
  host = runner;
  tasks.forEach(([task, signature]) => signatures.set(task, signature));
  others.forEach((signature) => remotes.set(signature.id, signature));
}

/**
 * Makes a stub for a task of another component, with the types of that task:
 * `const add = remote<(a: u32, b: u32) => u32>("local:other/tasks.add")`. Where several components export the function,
 * the id chooses one: `"COMPONENT::add"`, or in full `"COMPONENT::local:other/tasks.add"`. The build reads the id, so it
 * is a literal. If the result is a `Promise`, a call is awaited.
 */
export function remote<F extends (...args: never[]) => unknown>(id: string): F {
  const call = (...args: unknown[]): unknown => {
    const invocation = submit(call, ...args);
    return remotes.get(id)!.isAsync ? invocation.then() : invocation.result();
  };
  stubs.set(call, id);
  return call as unknown as F;
}

/** An invocation that was submitted. In an `async` task, `await` it. */
export class Invocation<R> implements PromiseLike<R> {
  /** @internal */
  constructor(
    readonly id: string | undefined,
    /** @internal */
    readonly signature: Signature | undefined,
    /** @internal */
    public outcome: Outcome | undefined,
    /** @internal Outside of a component: what settles the outcome. */
    readonly running?: PromiseLike<void>,
  ) {}

  /** Others go on meanwhile. Giving up the wait does not cancel the invocation. */
  then<T = R, E = never>(
    onFulfilled?: ((value: R) => T | PromiseLike<T>) | null,
    onRejected?: ((reason: unknown) => E | PromiseLike<E>) | null,
  ): Promise<T | E> {
    return this.arrival()
      .then(() => valueOf(this))
      .then(onFulfilled, onRejected);
  }

  private arrival(): Promise<void> {
    if (this.outcome !== undefined || this.running !== undefined) {
      return Promise.resolve(this.running);
    }
    return new Promise((resolve, reject) => {
      const waiter = { invocation: this as Invocation<unknown>, resolve, reject };
      waiters.set(this.id!, [...(waiters.get(this.id!) ?? []), waiter]);
    });
  }

  /** Waits until the invocation is final. Returns its value, or throws its error. */
  result(): R {
    settle([this]);
    return valueOf(this);
  }

  /** Cancels the invocation and its attached descendants. Returns false if it was final already. */
  cancel(): boolean {
    return host !== undefined && this.id !== undefined && asked(() => host!.cancel(this.id!));
  }
}

/** Submits one invocation of a task, which runs beside this one. */
export function submit<A extends unknown[], R>(task: Task<A, R>, ...args: A): Invocation<Awaited<R>> {
  return submitWith({}, task, ...args);
}

/** Submits one invocation of a task with options. */
export function submitWith<A extends unknown[], R>(
  options: Options,
  task: Task<A, R>,
  ...args: A
): Invocation<Awaited<R>> {
  return submitMany(options, task, [args])[0]!;
}

/** Submits one invocation for each element of `many`, all or none. */
export function submitAll<A extends unknown[], R>(task: Task<A, R>, many: A[]): Invocation<Awaited<R>>[] {
  return submitMany({}, task, many);
}

function submitMany<A extends unknown[], R>(
  options: Options,
  task: Task<A, R>,
  many: A[],
): Invocation<Awaited<R>>[] {
  const other = stubs.get(task);
  if (host === undefined) {
    if (other !== undefined) {
      throw new Error(`\`${other}\` is a task of another component, which needs a runner`);
    }
    return many.map((args) => start(task, args));
  }
  const signature = other === undefined ? signatures.get(task) : remotes.get(other);
  if (signature === undefined) {
    throw new TypeError(`\`${task.name}\` is no task: \`src/app.ts\` does not export it`);
  }
  const encoded = many.map((args) =>
    JSON.stringify(signature.parameters.map((kind, index) => encode(kind, args[index]))),
  );
  const all = { delayMs: null, priority: null, key: null, detached: false, labels: [], ...options };
  const ids = asked(() => host!.submitAll(signature.id, encoded, all));
  return ids.map((id) => new Invocation<Awaited<R>>(id, signature, undefined));
}

function start<A extends unknown[], R>(task: Task<A, R>, args: A): Invocation<Awaited<R>> {
  const returned = (value: unknown): Outcome => ({ ok: true, value });
  const failed = (thrown: unknown): Outcome => {
    return { ok: false, thrown: thrown instanceof Error ? new TaskFailed("trapped", String(thrown)) : thrown };
  };
  try {
    const value = task(...args);
    if (!(value instanceof Promise)) {
      return new Invocation<Awaited<R>>(undefined, undefined, returned(value));
    }
    const running = value.then(returned, failed).then((outcome) => void (invocation.outcome = outcome));
    const invocation = new Invocation<Awaited<R>>(undefined, undefined, undefined, running);
    return invocation;
  } catch (thrown) {
    return new Invocation<Awaited<R>>(undefined, undefined, failed(thrown));
  }
}

/** @internal Waits until one that is awaited is final, at most so long: the event loop of the component asks. */
export function arrive(timeoutMs: number | undefined): void {
  const ids = [...waiters.keys()];
  if (timeoutMs === undefined && ids.length === 0) {
    throw new Error("the task awaits what can't come: no child, no timer, nothing that is ready");
  }
  let found: [number, HostOutcome] | null;
  try {
    found = asked(() => (timeoutMs === undefined ? host!.awaitAny(ids) : host!.awaitAnyWithin(ids, timeoutMs)));
  } catch (refusal) {
    // A refusal does not name the invocation that it is about.
    const all = [...waiters.values()].flat();
    waiters.clear();
    all.forEach(({ reject }) => reject(refusal));
    return;
  }
  if (found !== null) {
    const [index, outcome] = found;
    const arrived = waiters.get(ids[index]!)!;
    waiters.delete(ids[index]!);
    for (const { invocation, resolve } of arrived) {
      invocation.outcome = read(invocation.signature!, outcome);
      resolve();
    }
  }
}

/** Waits until all are final, and returns their values in the order given, or throws the first error in that order. */
export function gather<R>(invocations: Invocation<R>[]): R[] {
  settle(invocations);
  return invocations.map(valueOf);
}

/** Yields each invocation as soon as it is final. */
export function* asCompleted<R>(invocations: Invocation<R>[]): Generator<Invocation<R>> {
  const pending = pendingOf(invocations);
  yield* invocations.filter((one) => one.outcome !== undefined);
  while (pending.length > 0) {
    const [index, outcome] = asked(() => host!.awaitAny(pending.map((one) => one.id!)));
    const [one] = pending.splice(index, 1);
    one!.outcome = read(one!.signature!, outcome);
    yield one!;
  }
}

function settle(invocations: Invocation<unknown>[]): void {
  const pending = pendingOf(invocations);
  if (pending.length > 0) {
    const outcomes = asked(() => host!.awaitAll(pending.map((one) => one.id!)));
    pending.forEach((one, index) => (one.outcome = read(one.signature!, outcomes[index]!)));
  }
}

/** Returns the invocations that are not known to be final. */
function pendingOf<R>(invocations: Invocation<R>[]): Invocation<R>[] {
  const pending = invocations.filter((one) => one.outcome === undefined);
  if (pending.some((one) => one.running !== undefined)) {
    throw new Error("it runs in the event loop of this test: `await` it");
  }
  return pending;
}

function valueOf<R>(invocation: Invocation<R>): R {
  const outcome = invocation.outcome!;
  if (!outcome.ok) {
    throw outcome.thrown;
  }
  return outcome.value as R;
}

function read(signature: Signature, outcome: HostOutcome): Outcome {
  if (outcome.tag === "ok") {
    const value = signature.result === null ? undefined : decode(signature.result, JSON.parse(outcome.val));
    return { ok: true, value };
  }
  const { tag, val } = outcome.val;
  if (tag === "returned" && signature.error !== null) {
    return { ok: false, thrown: decode(signature.error, JSON.parse(val)) };
  }
  return { ok: false, thrown: new TaskFailed(tag as FailureKind, val) };
}

/** Calls the runner, and throws its refusal as `Refused`. */
function asked<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    // An `err` of an import is thrown as an error whose payload it is.
    const { payload } = error as { payload?: Case };
    throw payload === undefined ? error : new Refused(payload.tag, payload.val);
  }
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
function encode(kind: Kind, value: any): unknown {
  switch (kind.is) {
    case "plain":
      return value;
    case "float":
      return Number.isFinite(value) ? value : String(value);
    case "bytes":
      return Array.from(value as Uint8Array);
    case "list":
      return value.map((element: unknown) => encode(kind.of, element));
    case "option":
      return value === null ? null : encode(kind.of, value);
    case "tuple":
      return kind.of.map((of, index) => encode(of, value[index]));
    case "flags":
      return kind.of.filter(([field]) => value[field]).map(([, name]) => name);
    case "record":
      return Object.fromEntries(kind.of.map(([field, name, of]) => [name, encode(of, value[field])]));
    case "variant": {
      const of = kind.of[value.tag];
      return of ? { [value.tag]: encode(of, value.val) } : value.tag;
    }
  }
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
function decode(kind: Kind, json: any): unknown {
  switch (kind.is) {
    case "plain":
      return json;
    case "float":
      return Number(json);
    case "bytes":
      return Uint8Array.from(json);
    case "list":
      return json.map((element: unknown) => decode(kind.of, element));
    case "option":
      return json === null ? null : decode(kind.of, json);
    case "tuple":
      return kind.of.map((of, index) => decode(of, json[index]));
    case "flags":
      return Object.fromEntries(kind.of.map(([field, name]) => [field, json.includes(name)]));
    case "record":
      return Object.fromEntries(kind.of.map(([field, name, of]) => [field, decode(of, json[name])]));
    case "variant": {
      const tag = typeof json === "string" ? json : Object.keys(json)[0]!;
      const of = kind.of[tag];
      return of ? { tag, val: decode(of, json[tag]) } : { tag };
    }
  }
}
