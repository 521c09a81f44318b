// The event loop of a component with `async` tasks. Its engine has promises, but does not run their jobs. So these
// promises replace them, with a queue of their own, and the build compiles `async` and `await` to them. When the queue
// is empty, `wait` waits for children and for the next timer.

type Job = () => void;
type Settle<T> = (value: T) => void;

const jobs: Job[] = [];
const timers = new Map<number, { due: number; call: Job }>();
let timerCount = 0;

class LoopPromise<T> {
  #state: "pending" | "fulfilled" | "rejected" = "pending";
  #value: unknown;
  #reactions: Job[] = [];

  constructor(executor: (resolve: Settle<T | PromiseLike<T>>, reject: Settle<unknown>) => void) {
    if (typeof executor !== "function") {
      throw new TypeError("a promise is made with a function");
    }
    const { resolve, reject } = this.#once();
    try {
      executor(resolve, reject);
    } catch (reason) {
      reject(reason);
    }
  }

  /** Returns the pair of settling functions; only the first call of either has an effect. */
  #once() {
    let isDecided = false;
    const first = <V>(decide: Settle<V>): Settle<V> => {
      return (value) => {
        if (!isDecided) {
          isDecided = true;
          decide(value);
        }
      };
    };
    return {
      resolve: first((value: T | PromiseLike<T>) => this.#resolve(value)),
      reject: first((reason: unknown) => this.#settle("rejected", reason)),
    };
  }

  #resolve(value: unknown) {
    if (value === this) {
      return this.#settle("rejected", new TypeError("a promise can't wait for itself"));
    }
    if (value === null || (typeof value !== "object" && typeof value !== "function")) {
      return this.#settle("fulfilled", value);
    }
    let then: unknown;
    try {
      then = (value as PromiseLike<T>).then;
    } catch (reason) {
      return this.#settle("rejected", reason);
    }
    if (typeof then !== "function") {
      return this.#settle("fulfilled", value);
    }
    jobs.push(() => {
      const { resolve, reject } = this.#once();
      try {
        then.call(value, resolve, reject);
      } catch (reason) {
        reject(reason);
      }
    });
  }

  #settle(state: "fulfilled" | "rejected", value: unknown) {
    this.#state = state;
    this.#value = value;
    jobs.push(...this.#reactions);
    this.#reactions = [];
  }

  then(onFulfilled?: unknown, onRejected?: unknown): LoopPromise<unknown> {
    return new LoopPromise((resolve, reject) => {
      const react = () => {
        const isFulfilled = this.#state === "fulfilled";
        const handler = isFulfilled ? onFulfilled : onRejected;
        if (typeof handler !== "function") {
          return isFulfilled ? resolve(this.#value) : reject(this.#value);
        }
        try {
          resolve(handler(this.#value));
        } catch (reason) {
          reject(reason);
        }
      };
      if (this.#state === "pending") {
        this.#reactions.push(react);
      } else {
        jobs.push(react);
      }
    });
  }

  catch(onRejected?: unknown) {
    return this.then(undefined, onRejected);
  }

  finally(onFinally?: unknown) {
    if (typeof onFinally !== "function") {
      return this.then(onFinally, onFinally);
    }
    return this.then(
      (value: unknown) => LoopPromise.resolve(onFinally()).then(() => value),
      (reason: unknown) =>
        LoopPromise.resolve(onFinally()).then(() => {
          throw reason;
        }),
    );
  }

  get [Symbol.toStringTag]() {
    return "Promise";
  }

  static resolve(value?: unknown): LoopPromise<unknown> {
    return value instanceof LoopPromise ? value : new LoopPromise((resolve) => resolve(value));
  }

  static reject(reason?: unknown) {
    return new LoopPromise((_, reject) => reject(reason));
  }

  static withResolvers() {
    let resolve!: Settle<unknown>;
    let reject!: Settle<unknown>;
    const promise = new LoopPromise((...functions) => ([resolve, reject] = functions));
    return { promise, resolve, reject };
  }

  static try(call: (...args: unknown[]) => unknown, ...args: unknown[]) {
    return new LoopPromise((resolve) => resolve(call(...args)));
  }

  static race(values: Iterable<unknown>) {
    return new LoopPromise((resolve, reject) => {
      for (const value of values) {
        LoopPromise.resolve(value).then(resolve, reject);
      }
    });
  }

  static all(values: Iterable<unknown>) {
    return new LoopPromise((resolve, reject) => collect(values, resolve, (place, put) => [put, reject]));
  }

  static allSettled(values: Iterable<unknown>) {
    return new LoopPromise((resolve) =>
      collect(values, resolve, (place, put) => [
        (value) => put({ status: "fulfilled", value }),
        (reason) => put({ status: "rejected", reason }),
      ]),
    );
  }

  static any(values: Iterable<unknown>) {
    return new LoopPromise((resolve, reject) => {
      const fail = (reasons: unknown[]) => reject(new AggregateError(reasons, "all promises were rejected"));
      collect(values, fail, (place, put) => [resolve, put]);
    });
  }
}

/** Collects one result for each value, and calls `done` with all of them in the order of the values. */
function collect(
  values: Iterable<unknown>,
  done: Settle<unknown[]>,
  reactions: (place: number, put: Settle<unknown>) => [Settle<unknown>, Settle<unknown>],
) {
  const all = [...values];
  const found: unknown[] = new Array(all.length);
  let missing = all.length;
  if (missing === 0) {
    return done(found);
  }
  all.forEach((value, place) => {
    const put = (one: unknown) => {
      found[place] = one;
      missing -= 1;
      if (missing === 0) {
        done(found);
      }
    };
    LoopPromise.resolve(value).then(...reactions(place, put));
  });
}

function setTimeout(call: (...args: unknown[]) => void, delay?: number, ...args: unknown[]): number {
  timerCount += 1;
  timers.set(timerCount, { due: Date.now() + Math.max(0, Number(delay) || 0), call: () => call(...args) });
  return timerCount;
}

Object.assign(globalThis, {
  Promise: LoopPromise,
  queueMicrotask: (job: Job) => void jobs.push(job),
  setTimeout,
  clearTimeout: (timer?: number) => void timers.delete(timer ?? 0),
});

/** Runs a task until its promise is settled: returns its value, or throws its reason. */
export function run<T>(task: () => PromiseLike<T>, wait: (timeoutMs: number | undefined) => void): T {
  let outcome: { value: T } | { reason: unknown } | undefined;
  LoopPromise.resolve(task()).then(
    (value: T) => (outcome = { value }),
    (reason: unknown) => (outcome = { reason }),
  );
  while (true) {
    runJobs();
    if (outcome !== undefined) {
      break;
    }
    passTime(wait);
  }
  if ("reason" in outcome) {
    throw outcome.reason;
  }
  return outcome.value;
}

function runJobs() {
  // Jobs may add jobs; all run in the order in which they were added.
  for (let next = 0; next < jobs.length; next += 1) {
    jobs[next]!();
  }
  jobs.length = 0;
}

function passTime(wait: (timeoutMs: number | undefined) => void) {
  let first: [number, { due: number; call: Job }] | undefined;
  for (const timer of timers) {
    if (first === undefined || timer[1].due < first[1].due) {
      first = timer;
    }
  }
  const left = first && Math.ceil(first[1].due - Date.now());
  if (first !== undefined && left! <= 0) {
    timers.delete(first[0]);
    first[1].call();
  } else {
    wait(left);
  }
}
