// The tasks that `wit/world.wit` declares.

#include "counting.h"

#include "table.h"

#include <stdlib.h>

static void sorted(table_t *table, exports_mixed_counting_words_list_tally_t *ret) {
    table_sort(table);
    ret->len = table->used;
    ret->ptr = table->used ? malloc(table->used * sizeof(exports_mixed_counting_words_tally_t)) : NULL;
    if (table->used && ret->ptr == NULL) {
        abort();
    }
    for (size_t i = 0; i < table->used; i++) {
        const entry_t *entry = &table->entries[i];
        counting_string_dup_n(&ret->ptr[i].word, (const char *)entry->word, entry->length);
        ret->ptr[i].count = entry->count;
    }
}

void exports_mixed_counting_words_count(counting_list_string_t *words,
                                        exports_mixed_counting_words_list_tally_t *ret) {
    table_t table = {0};
    for (size_t i = 0; i < words->len; i++) {
        table_add(&table, words->ptr[i].ptr, words->ptr[i].len, 1);
    }
    sorted(&table, ret);
}

void exports_mixed_counting_words_merge(exports_mixed_counting_words_list_list_tally_t *parts,
                                        exports_mixed_counting_words_list_tally_t *ret) {
    table_t table = {0};
    for (size_t i = 0; i < parts->len; i++) {
        for (size_t j = 0; j < parts->ptr[i].len; j++) {
            const exports_mixed_counting_words_tally_t *tally = &parts->ptr[i].ptr[j];
            table_add(&table, tally->word.ptr, tally->word.len, tally->count);
        }
    }
    sorted(&table, ret);
}
