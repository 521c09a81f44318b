// A customer's plugin in JavaScript: the initials of the words of a text.

export const text = {
  transform(text) {
    const words = text.split(/\s+/u).filter((word) => word !== "");
    if (words.length === 0) {
      throw "there are no words";
    }
    return words.map((word) => [...word][0].toUpperCase()).join("");
  },
};
