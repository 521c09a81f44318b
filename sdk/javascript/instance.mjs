// What each instance has of its own. The engine is started once, when the component is built, and each instance goes on
// from there: so its own random numbers would be the same in all of them, and its clock would begin at the build.

import random from "wasi:random/random@{{version}}";

/** Bytes that are asked for at once. */
const BLOCK = 512;

let words = new Uint32Array(0);
let used = 0;
const clock = performance.now.bind(performance);
let start;

/** Forgets what the evaluation of the modules has used: from here on it is the instance's. */
export function built() {
  words = new Uint32Array(0);
  used = 0;
  start = undefined;
}

function bytes(count) {
  return Uint8Array.from(random.getRandomBytes(count));
}

function word() {
  if (used === words.length) {
    words = new Uint32Array(bytes(BLOCK).buffer);
    used = 0;
  }
  return words[used++];
}

Math.random = function random() {
  // 53 bits, as many as a number has.
  return ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) / 2 ** 53;
};

const INTEGERS = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array];
INTEGERS.push(BigInt64Array, BigUint64Array);
/** The most bytes of one call, as everywhere. */
const MOST = 65_536;

class Crypto {
  getRandomValues(array) {
    if (!INTEGERS.some((kind) => array instanceof kind)) {
      throw new TypeError("only arrays of integers are filled with random values");
    }
    if (array.byteLength > MOST) {
      throw new RangeError(`${array.byteLength} bytes are more than the ${MOST} of one call`);
    }
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes(array.byteLength));
    return array;
  }

  randomUUID() {
    const all = bytes(16);
    all[6] = (all[6] & 0x0f) | 0x40;
    all[8] = (all[8] & 0x3f) | 0x80;
    const text = Array.from(all, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
  }
}

const ownPerformance = {
  /** Milliseconds since it was first asked for in this instance. */
  now() {
    start ??= { clock: clock(), date: Date.now() };
    return clock() - start.clock;
  },
  get timeOrigin() {
    ownPerformance.now();
    return start.date;
  },
};

for (const [name, value] of Object.entries({ crypto: new Crypto(), performance: ownPerformance })) {
  Object.defineProperty(globalThis, name, { value, configurable: true, enumerable: true, writable: true });
}
