/* scan_keys.c -- a scan whose predicate names whole keys (= and IN on every key column) looks them up.
 *
 * Necessary only: the scan still asks its predicate about every row that is found.
 * Errors   MG_NO_MEMORY and those of find.
 * Threads  the reader's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/magic_internal.h"

enum { KEYS_MAX = MG_CHUNK_ROWS, KEYS_BYTES_MAX = 64 << 20, SCRATCH_MAX = 1 << 20 };

/* What the predicate says of each key column; how many keys that makes, 0: none or too many. */
static uint32_t name_keys(const struct mg_predicate *predicate, const struct mg_schema *schema,
                          struct mg_expr_points *points)
{
    uint64_t count = 1;
    for (uint32_t k = 0; k < schema->key_count; k++) {
        points[k] = mg_predicate_points(predicate, schema->key_columns[k]);
        count *= points[k].count;
        if (count == 0 || count > KEYS_MAX)
            return 0;
    }
    return schema->key_count ? (uint32_t)count : 0;
}

/* Every combination that lies in the range; *out_count of them. */
static enum mg_code encode_keys(const struct mg_expr_points *points, uint32_t key_count, uint32_t count,
                                struct mg_key_range range, struct mg_buffer *keys, uint32_t *offsets,
                                uint32_t *out_count, struct mg_error *err)
{
    struct mg_value values[MG_KEY_COLUMNS_MAX];
    offsets[0] = *out_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rest = i;
        for (uint32_t k = key_count; k-- > 0; rest /= points[k].count)
            values[k] = mg_expr_point(points[k], rest % points[k].count);
        MG_TRY(mg_key_encode_values(values, key_count, keys, err));
        uint32_t begin = offsets[*out_count];
        if (mg_key_in_range(MG_SLICE(keys->data + begin, keys->size - begin), range))
            offsets[++*out_count] = (uint32_t)keys->size;
        else
            keys->size = begin;
    }
    return MG_OK;
}

static enum mg_code look_up(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                            const struct mg_schema *schema, const bool *needed, const struct mg_expr_points *points,
                            uint32_t count, struct mg_batch **out, struct mg_error *err)
{
    MG_CLEANUP(mg_buffer_clear) struct mg_buffer keys;
    MG_CLEANUP(mg_freep) uint32_t *columns = malloc(((size_t)schema->column_count + 1) * sizeof *columns);
    MG_CLEANUP(mg_freep) uint32_t *offsets = malloc(((size_t)count + 1) * sizeof *offsets);
    MG_CLEANUP(mg_freep) uint32_t *rows = malloc(((size_t)count + 1) * sizeof *rows);
    struct mg_find_spec find = {
        .table_id = spec->table_id, .columns = columns, .offsets = offsets, .budget = spec->budget};
    mg_buffer_init(&keys, KEYS_BYTES_MAX);
    if (!columns || !offsets || !rows)
        return mg_fail(err, MG_NO_MEMORY, "no memory to look up %u keys", count);
    for (uint32_t c = 0; c < schema->column_count; c++)
        if (needed[c])
            columns[find.column_count++] = c;
    MG_TRY(encode_keys(points, schema->key_count, count, spec->range, &keys, offsets, &find.key_count, err));
    find.keys = keys.data;
    return mg_magic__find(snapshot, &find, rows, out, err);
}

enum mg_code mg_magic__find_named(struct mg_snapshot *snapshot, const struct mg_scan_spec *spec,
                                  const struct mg_schema *schema, const bool *needed, bool *applies,
                                  struct mg_batch **out, struct mg_error *err)
{
    struct mg_expr_points points[MG_KEY_COLUMNS_MAX];
    *applies = false;
    *out = NULL;
    if (!spec->predicate)
        return MG_OK;
    uint32_t count = name_keys(spec->predicate, schema, points);
    if (count == 0)
        return MG_OK;
    *applies = true;
    return look_up(snapshot, spec, schema, needed, points, count, out, err);
}
