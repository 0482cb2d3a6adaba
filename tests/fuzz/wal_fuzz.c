/* wal_fuzz.c -- groups of the WAL, hostile ones too: decoded, replayed into an empty store, and what is then there is
 * read.
 *
 * Input   groups, each as u32 le size and its bytes (docs/format/wal.md); their checksums, which the journal checks,
 *         are not in it. The first group that is refused ends the input. A size with the highest bit set is that of a
 *         part, for groups to name: u32 le segment id, and the file.
 * Asks    nothing is read or written outside, whatever a group says; what was accepted can be scanned, filtered by
 *         ranges and split, and gives as many rows as it says; all memory is given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/io_fault.h"
#include "engine/magic/manifest.h"

enum { MEMORY_MAX = 64 << 20, INPUT_MAX = 1 << 20 };
#define IS_PART ((uint32_t)1 << 31)
#define SCAN_FAILED UINT64_MAX /* a part is not what its footer says */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void init(struct mg_magic *magic, struct mg_budget *all, struct mg_io_fault *disk)
{
    static char folder[] = "/store";
    memset(magic, 0, sizeof *magic);
    magic->folder = folder;
    magic->io = mg_io_fault_io(disk);
    mg_assert(mg_io_make_folders(magic->io, "/store/parts", NULL) == MG_OK);
    mg_budget_init(all, "all", NULL, MEMORY_MAX);
    magic->base.ops = &mg_engine_magic;
    magic->readers = all;
    mg_budget_init(&magic->budget, "store", all, MEMORY_MAX / 2);
    mg_budget_init(&magic->rows_budget, "rows", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->index_budget, "index", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->marks_budget, "marks", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->parts_budget, "parts", &magic->budget, SIZE_MAX);
    mg_budget_init(&magic->cache_budget, "cache", &magic->budget, MEMORY_MAX / 8);
    mg_assert(mg_cache_new(&magic->cache_budget, 0, &magic->cache, NULL) == MG_OK);
    mg_budget_init(&magic->replay_budget, "replay", &magic->budget, SIZE_MAX);
    mg_mutex_init(&magic->publish, MG_RANK_PUBLISH, "publish");
    mg_cond_init(&magic->published);
}

static uint64_t scan(struct mg_snapshot *snapshot, const struct mg_schema *schema, struct mg_key_range range)
{
    uint32_t *columns = malloc(((size_t)schema->column_count + 1) * sizeof *columns);
    struct mg_scan_spec spec = {
        .table_id = schema->table_id, .columns = columns, .column_count = schema->column_count, .range = range};
    mg_assert(columns);
    for (uint32_t c = 0; c < schema->column_count; c++)
        columns[c] = c;
    struct mg_scan *scan;
    struct mg_batch *batch = NULL;
    uint64_t rows = 0;
    if (mg_magic__scan(snapshot, &spec, &scan, NULL) == MG_OK) {
        enum mg_code code;
        while ((code = mg_magic__next(scan, &batch, NULL)) == MG_OK && batch) {
            rows += batch->row_count;
            mg_assert(mg_batch_check(batch, NULL) == MG_OK);
            mg_batch_unref(batch);
        }
        mg_magic__scan_close(scan);
        rows = code == MG_OK ? rows : SCAN_FAILED;
    } else {
        rows = SCAN_FAILED;
    }
    free(columns);
    return rows;
}

static void read_table(struct mg_snapshot *snapshot, const struct mg_table_view *table)
{
    struct mg_arena arena;
    struct mg_key_range *ranges;
    uint32_t count;
    if (table->schema->state != MG_STATE_OK)
        return;
    mg_arena_init(&arena, 1 << 24);
    uint64_t rows = scan(snapshot, table->schema, (struct mg_key_range){0}), parts = 0;
    mg_assert(rows == table->live_count || (rows == SCAN_FAILED && table->part_count));
    /* A key may be longer than the limit: then there are no splits. */
    if (mg_magic__plan_splits(snapshot, table->table->id, 4, true, &arena, &ranges, &count, NULL) == MG_OK) {
        for (uint32_t i = 0; i < count; i++)
            parts += scan(snapshot, table->schema, ranges[i]);
        mg_assert(parts == rows || table->part_count);
    }
    mg_arena_clear(&arena);
}

static enum mg_code replay(struct mg_store *store, struct mg_slice bytes)
{
    struct mg_arena arena;
    struct mg_wal_group group;
    mg_arena_init(&arena, MEMORY_MAX);
    enum mg_code code = mg_wal_group__decode(bytes, &arena, &group, NULL);
    if (code == MG_OK) {
        code = mg_store__replay(store, &group, NULL);
        mg_wal_group__clear(&group);
    }
    mg_arena_clear(&arena);
    return code;
}

static enum mg_code write_part(struct mg_magic *magic, struct mg_slice bytes)
{
    char path[MG_PATH_MAX];
    struct mg_file *file;
    struct mg_reader in = mg_reader_of(bytes);
    mg_path__part(magic->folder, mg_reader_le32(&in), path);
    if (in.failed || mg_io_open(magic->io, path, MG_OPEN_CREATE_NEW, &file, NULL) != MG_OK)
        return MG_CORRUPT;
    enum mg_code code = mg_file_pwrite(file, in.at, mg_reader_left(&in), 0, NULL);
    mg_file_close(file);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAX)
        return 0;
    static struct mg_magic magic;
    struct mg_budget all;
    struct mg_store *store = &magic.store;
    struct mg_reader in = mg_reader_of(MG_SLICE(data, size));
    enum mg_code code = MG_OK;
    struct mg_io_fault *disk = mg_io_fault_new(1);
    init(&magic, &all, disk);
    mg_assert(mg_store__init(store, &magic, false, NULL) == MG_OK);
    while (code == MG_OK && mg_reader_left(&in)) {
        uint32_t group_size = mg_reader_le32(&in);
        struct mg_slice group = mg_reader_take(&in, group_size & ~IS_PART);
        if (in.failed)
            code = MG_CORRUPT;
        else
            code = group_size & IS_PART ? write_part(&magic, group) : replay(store, group);
    }
    if (code == MG_OK && mg_store__finish_replay(store, NULL) == MG_OK) {
        for (uint32_t i = 0; i < store->catalog->table_count; i++)
            read_table(&store->newest->base, store->catalog->tables[i]);
        mg_view__unpin(store->newest);
    }
    mg_store__clear(store);
    mg_cache_free(magic.cache);
    mg_io_fault_free(disk);
    mg_assert(mg_budget_used(&all) == 0);
    mg_cond_destroy(&magic.published);
    mg_mutex_destroy(&magic.publish);
    return 0;
}
