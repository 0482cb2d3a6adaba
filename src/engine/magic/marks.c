/* marks.c -- deleted rows: versions per granule, and the arrays that tell which version a view sees.
 *
 * Shape    up to MG_MARK_LIST_MAX rows: a rising list of u16; more: a bitmap of 1 KiB. A version is never changed;
 *          adding rows makes the next one.
 * Threads  versions and arrays are immutable after publish; who frees a version says view.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "engine/magic/magic_internal.h"

enum { BITMAP_WORDS = MG_CHUNK_ROWS / 64 };

struct mg_marks *mg_marks__ref(struct mg_marks *marks)
{
    if (marks)
        atomic_fetch_add_explicit(&marks->references, 1, memory_order_relaxed);
    return marks;
}

static size_t array_bytes(uint32_t granule_count)
{
    return sizeof(struct mg_marks) + granule_count * sizeof(struct mg_mark_version *);
}

void mg_marks__unref(struct mg_marks *marks)
{
    if (!marks || atomic_fetch_sub_explicit(&marks->references, 1, memory_order_acq_rel) != 1)
        return;
    mg_budget_release(marks->budget, array_bytes(marks->granule_count));
    free(marks);
}

enum mg_code mg_marks__copy(const struct mg_marks *from, uint32_t granule_count, struct mg_budget *budget,
                            struct mg_marks **out, struct mg_error *err)
{
    uint32_t had = from ? from->granule_count : 0;
    granule_count = MG_MAX(granule_count, had);
    MG_TRY(mg_budget_reserve(budget, array_bytes(granule_count), err));
    struct mg_marks *marks = malloc(array_bytes(granule_count));
    if (!marks) {
        mg_budget_release(budget, array_bytes(granule_count));
        return mg_fail(err, MG_NO_MEMORY, "no memory for the marks of %u granules", granule_count);
    }
    atomic_init(&marks->references, 1);
    marks->budget = budget;
    marks->dead_count = from ? from->dead_count : 0;
    marks->granule_count = granule_count;
    for (uint32_t i = 0; i < granule_count; i++)
        marks->granules[i] = i < had ? from->granules[i] : NULL;
    *out = marks;
    return MG_OK;
}

static size_t version_bytes(bool is_bitmap, uint32_t count)
{
    size_t head = offsetof(struct mg_mark_version, words);
    return head + (is_bitmap ? BITMAP_WORDS * sizeof(uint64_t) : (count * sizeof(uint16_t) + 7) / 8 * 8);
}

size_t mg_mark_version__bytes(const struct mg_mark_version *version)
{
    return version_bytes(version->is_bitmap, version->count);
}

/* Both lists in order, without what is twice. */
static uint32_t merge(const uint16_t *a, uint32_t a_count, const uint16_t *b, uint32_t b_count, uint16_t *to)
{
    uint32_t i = 0, j = 0, n = 0;
    while (i < a_count || j < b_count) {
        if (j == b_count || (i < a_count && a[i] < b[j])) {
            to[n++] = a[i++];
        } else {
            if (i < a_count && a[i] == b[j])
                i++;
            to[n++] = b[j++];
        }
    }
    return n;
}

struct mg_mark_version *mg_mark_version__add(const struct mg_mark_version *from, const uint16_t *rows, uint32_t count,
                                             uint64_t epoch, uint32_t *out_new)
{
    uint32_t had = from ? from->count : 0;
    bool is_bitmap = had + count > MG_MARK_LIST_MAX;
    struct mg_mark_version *version = malloc(version_bytes(is_bitmap, had + count));
    if (!version)
        return NULL;
    version->epoch = epoch;
    version->is_bitmap = is_bitmap;
    if (!is_bitmap) {
        version->count = merge(from ? mg_mark_version__rows(from) : NULL, had, rows, count, (uint16_t *)version->words);
        *out_new = version->count - had;
        return version;
    }
    uint64_t *words = version->words;
    if (from && from->is_bitmap) {
        memcpy(words, from->words, BITMAP_WORDS * sizeof *words);
    } else {
        memset(words, 0, BITMAP_WORDS * sizeof *words);
        const uint16_t *old = had ? mg_mark_version__rows(from) : NULL;
        for (uint32_t i = 0; i < had; i++)
            words[old[i] / 64] |= (uint64_t)1 << (old[i] % 64);
    }
    uint32_t new = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bit = (uint64_t)1 << (rows[i] % 64);
        new += !(words[rows[i] / 64] & bit);
        words[rows[i] / 64] |= bit;
    }
    version->count = had + new;
    *out_new = new;
    return version;
}

void mg_mark_version__mask(const struct mg_mark_version *version, uint64_t mask[MG_CHUNK_ROWS / 64], uint32_t row_count)
{
    if (version->is_bitmap) {
        const uint64_t *restrict words = version->words;
        uint64_t *restrict to = mask;
        for (uint32_t i = 0; i < BITMAP_WORDS; i++) /* always as many, and apart: a few wide steps */
            to[i] &= ~words[i];
        return;
    }
    const uint16_t *rows = mg_mark_version__rows(version);
    for (uint32_t i = 0; i < version->count && rows[i] < row_count; i++)
        mask[rows[i] / 64] &= ~((uint64_t)1 << (rows[i] % 64));
}

void mg_mark_version__prefetch(const struct mg_mark_version *version)
{
    const uint8_t *bytes = (const uint8_t *)version;
    for (size_t at = 0; bytes && at < MG_MARK_VERSION_BYTES_MAX; at += 64)
        __builtin_prefetch(bytes + at);
}
