// `wasm-runner:task@0.1.0` as TypeScript sees it: `wit/deps/wasm-runner-task/task.wit`
// says what each part means.

declare module "wasm-runner:task/invocations@0.1.0" {
  /** A JSON document as text. */
  type Json = string;
  type InvocationId = string;

  interface SubmitOptions {
    delayMs: number | null;
    priority: number | null;
    key: string | null;
    detached: boolean;
    labels: [string, string][];
  }

  type FailureKind =
    | "returned"
    | "trapped"
    | "timed-out"
    | "limit-exceeded"
    | "cancelled"
    | "skipped"
    | "lost";
  type RefusalKind =
    | "unknown-task"
    | "bad-arguments"
    | "unknown-invocation"
    | "denied"
    | "cycle"
    | "limit"
    | "unavailable";
  type Failure = { tag: FailureKind; val: string };
  type Refusal = { tag: RefusalKind; val: string };
  type Outcome = { tag: "ok"; val: Json } | { tag: "err"; val: Failure };
  type Status =
    | "queued"
    | "claimed"
    | "running"
    | "waiting"
    | "succeeded"
    | "failed"
    | "cancelled"
    | "skipped";

  /**
   * Each throws an `Error` whose `payload` is a `Refusal`; of `awaitResult` and `call` it is `{ tag: "failed", val: Failure }` or
   * `{ tag: "refused", val: Refusal }`.
   */
  interface Invocations {
    submit(task: string, args: Json, options: SubmitOptions): InvocationId;
    submitAll(task: string, args: Json[], options: SubmitOptions): InvocationId[];
    awaitResult(id: InvocationId): Json;
    awaitAll(ids: InvocationId[]): Outcome[];
    awaitAny(ids: InvocationId[]): [number, Outcome];
    awaitAnyWithin(ids: InvocationId[], timeoutMs: number): [number, Outcome] | null;
    call(task: string, args: Json): Json;
    status(id: InvocationId): Status;
    cancel(id: InvocationId): boolean;
  }

  const invocations: Invocations;
  export default invocations;
  export type { Failure, InvocationId, Invocations, Json, Outcome, Refusal, Status, SubmitOptions };
}

declare module "wasm-runner:task/context@0.1.0" {
  interface Context {
    id(): string;
    task(): string;
    attempt(): number;
    parent(): string | null;
    root(): string;
    deadline(): number | null;
    labels(): [string, string][];
    progress(done: number, total: number, message: string): void;
  }

  const context: Context;
  export default context;
}

declare module "wasm-runner:task/log@0.1.0" {
  type Level = "trace" | "debug" | "info" | "warn" | "error";
  const log: { log(level: Level, message: string): void };
  export default log;
}
