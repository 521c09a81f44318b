// A hash table from words to numbers.

#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *word; // not a copy: it belongs to whoever counts
    size_t length;
    uint64_t count;
} entry_t;

typedef struct {
    entry_t *entries;
    size_t capacity; // a power of two
    size_t used;
} table_t;

// Counts a word, `count` times.
void table_add(table_t *table, const uint8_t *word, size_t length, uint64_t count);

// Puts the entries to the front, most frequent first, words of the same count in order.
void table_sort(table_t *table);

#endif
