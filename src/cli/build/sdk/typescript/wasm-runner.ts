// Tasks for `run-wasm-runner` from plain TypeScript functions. `run-wasm-runner build` puts this file into
// `build/sdk`, and makes WIT of the types of what `src/app.ts` exports. Outside of a component, in a test, a
// submitted task runs at once.

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

/** What a task returns that may also throw an `E`: whoever awaits it gets that thrown. */
// eslint-disable-next-line @typescript-eslint/no-unused-vars
export type Throws<T, E> = T;

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

/** The runner did not do what was asked for, and nothing was changed. */
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
  | { is: "record"; of: [field: string, name: string, kind: Kind][] }
  | { is: "variant"; of: Record<string, Kind | null> };

export interface Signature {
  id: string;
  parameters: Kind[];
  result: Kind | null;
  error: Kind | null;
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
  cancel(id: string): boolean;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Task<A extends any[], R> = (...args: A) => R;
type Outcome = { ok: true; value: unknown } | { ok: false; thrown: unknown };

let host: Host | undefined;
const signatures = new Map<unknown, Signature>();

/** Says what the tasks are: of the component's entry, which the build makes. */
export function connect(runner: Host, tasks: [unknown, Signature][]): void {
  host = runner;
  tasks.forEach(([task, signature]) => signatures.set(task, signature));
}

/** An invocation that was submitted. */
export class Invocation<R> {
  /** @internal */
  constructor(
    readonly id: string | undefined,
    /** @internal */
    readonly signature: Signature | undefined,
    /** @internal */
    public outcome: Outcome | undefined,
  ) {}

  /** Waits until it is final, and returns its value, or throws what it threw. */
  result(): R {
    settle([this]);
    return valueOf(this);
  }

  /** Cancels it with its own children. Returns whether it was not final yet. */
  cancel(): boolean {
    return host !== undefined && this.id !== undefined && asked(() => host!.cancel(this.id!));
  }
}

/** Submits one invocation of a task, which runs while this one goes on. */
export function submit<A extends unknown[], R>(task: Task<A, R>, ...args: A): Invocation<R> {
  return submitWith({}, task, ...args);
}

/** The same with options. */
export function submitWith<A extends unknown[], R>(options: Options, task: Task<A, R>, ...args: A): Invocation<R> {
  return submitMany(options, task, [args])[0]!;
}

/** Submits one invocation for each of some arguments, all or none. */
export function submitAll<A extends unknown[], R>(task: Task<A, R>, many: A[]): Invocation<R>[] {
  return submitMany({}, task, many);
}

function submitMany<A extends unknown[], R>(options: Options, task: Task<A, R>, many: A[]): Invocation<R>[] {
  if (host === undefined) {
    return many.map((args) => new Invocation<R>(undefined, undefined, run(task, args)));
  }
  const signature = signatures.get(task);
  if (signature === undefined) {
    throw new TypeError(`\`${task.name}\` is no task: \`src/app.ts\` does not export it`);
  }
  const encoded = many.map((args) =>
    JSON.stringify(signature.parameters.map((kind, index) => encode(kind, args[index]))),
  );
  const all = { delayMs: null, priority: null, key: null, detached: false, labels: [], ...options };
  const ids = asked(() => host!.submitAll(signature.id, encoded, all));
  return ids.map((id) => new Invocation<R>(id, signature, undefined));
}

function run<A extends unknown[], R>(task: Task<A, R>, args: A): Outcome {
  try {
    return { ok: true, value: task(...args) };
  } catch (thrown) {
    return { ok: false, thrown: thrown instanceof Error ? new TaskFailed("trapped", String(thrown)) : thrown };
  }
}

/** Waits until all are final, and returns their values in the order given, or throws what the first that failed did. */
export function gather<R>(invocations: Invocation<R>[]): R[] {
  settle(invocations);
  return invocations.map(valueOf);
}

/** Yields them as they become final, the earliest first. */
export function* asCompleted<R>(invocations: Invocation<R>[]): Generator<Invocation<R>> {
  yield* invocations.filter((one) => one.outcome !== undefined);
  const pending = invocations.filter((one) => one.outcome === undefined);
  while (pending.length > 0) {
    const [index, outcome] = asked(() => host!.awaitAny(pending.map((one) => one.id!)));
    const [one] = pending.splice(index, 1);
    one!.outcome = read(one!.signature!, outcome);
    yield one!;
  }
}

function settle(invocations: Invocation<unknown>[]): void {
  const pending = invocations.filter((one) => one.outcome === undefined);
  if (pending.length > 0) {
    const outcomes = asked(() => host!.awaitAll(pending.map((one) => one.id!)));
    pending.forEach((one, index) => (one.outcome = read(one.signature!, outcomes[index]!)));
  }
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

/** Calls the runner; what it refuses is thrown as `Refused`. */
function asked<T>(call: () => T): T {
  try {
    return call();
  } catch (refusal) {
    if (refusal instanceof Error) {
      throw refusal;
    }
    const { tag, val } = refusal as Case;
    throw new Refused(tag, val);
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
    case "record":
      return Object.fromEntries(kind.of.map(([field, name, of]) => [field, decode(of, json[name])]));
    case "variant": {
      const tag = typeof json === "string" ? json : Object.keys(json)[0]!;
      const of = kind.of[tag];
      return of ? { tag, val: decode(of, json[tag]) } : { tag };
    }
  }
}
