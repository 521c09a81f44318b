#include "table.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash(const uint8_t *word, size_t length) {
    uint64_t hash = 0xcbf29ce484222325; // FNV-1a
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ word[i]) * 0x100000001b3;
    }
    return hash ^ (hash >> 32);
}

// The entry of a word, or the free one where it belongs.
static entry_t *find(const table_t *table, const uint8_t *word, size_t length) {
    size_t at = hash(word, length) & (table->capacity - 1);
    for (;;) {
        entry_t *entry = &table->entries[at];
        if (entry->word == NULL || (entry->length == length && memcmp(entry->word, word, length) == 0)) {
            return entry;
        }
        at = (at + 1) & (table->capacity - 1);
    }
}

static void grow(table_t *table) {
    table_t larger = {.capacity = table->capacity ? table->capacity * 2 : 256, .used = table->used};
    larger.entries = calloc(larger.capacity, sizeof(entry_t));
    if (larger.entries == NULL) {
        abort();
    }
    for (size_t i = 0; i < table->capacity; i++) {
        const entry_t *entry = &table->entries[i];
        if (entry->word != NULL) {
            *find(&larger, entry->word, entry->length) = *entry;
        }
    }
    free(table->entries);
    *table = larger;
}

void table_add(table_t *table, const uint8_t *word, size_t length, uint64_t count) {
    if (table->used * 2 >= table->capacity) {
        grow(table);
    }
    entry_t *entry = find(table, word, length);
    if (entry->word == NULL) {
        *entry = (entry_t){.word = word, .length = length};
        table->used++;
    }
    entry->count += count;
}

static int compare(const void *a, const void *b) {
    const entry_t *left = a, *right = b;
    if (left->count != right->count) {
        return left->count < right->count ? 1 : -1;
    }
    size_t shorter = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->word, right->word, shorter);
    return order ? order : (left->length > right->length) - (left->length < right->length);
}

void table_sort(table_t *table) {
    size_t next = 0;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].word != NULL) {
            table->entries[next++] = table->entries[i];
        }
    }
    if (next > 0) {
        qsort(table->entries, next, sizeof(entry_t), compare);
    }
}
