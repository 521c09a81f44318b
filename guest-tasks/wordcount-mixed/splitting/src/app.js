// The tasks that `wit/world.wit` declares. Each call of another component is a child.

import words from "mixed:counting/words";
import files from "mixed:reading/files";

const BETWEEN_WORDS = /[^\p{Alphabetic}\p{N}]+/u;
const BEGINS_WITH_A_LETTER = /^\p{Alphabetic}/u;

export const texts = {
  countWords(path) {
    // Its `err` is thrown, and so becomes that of this task.
    const text = files.read(path);
    const found = text.split(BETWEEN_WORDS).filter((word) => BEGINS_WITH_A_LETTER.test(word));
    return words.count(found.map((word) => word.toLowerCase()));
  },
};
