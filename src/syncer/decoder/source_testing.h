/* source_testing.h -- a source that answers for schemas from texts that a test sets, and JSON of tables and jobs. For
 * tests only.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SOURCE_TESTING_H
#define MG_SYNCER_SOURCE_TESTING_H

#include <inttypes.h>

#include "base/testing.h"
#include "syncer/source/source.h"

enum { FAKE_ANSWERS_MAX = 64 };

/* Answers by path; a path without one is gone (400, as TiDB says it), or away. */
struct fake_source {
    struct mg_source source; /* first */
    char *paths[FAKE_ANSWERS_MAX], *texts[FAKE_ANSWERS_MAX];
    unsigned count, asked;
    bool away;
};

static inline enum mg_code fake_fetch(struct mg_source *source, const char *path, struct mg_arena *arena,
                                      struct mg_slice *out, struct mg_error *err)
{
    struct fake_source *fake = (struct fake_source *)source;

    fake->asked++;
    if (fake->away)
        return mg_fail(err, MG_UNAVAILABLE, "connection refused");
    for (unsigned i = fake->count; i-- > 0;) {
        if (strcmp(fake->paths[i], path) == 0) {
            *out = mg_arena_copy(arena, mg_slice_text(fake->texts[i]));
            return MG_OK;
        }
    }
    if (strncmp(path, "/ddl/history", 12) == 0) {
        *out = mg_arena_copy(arena, mg_slice_text("[]"));
        return MG_OK;
    }
    return mg_fail(err, MG_INVALID, "%s answered 400: [schema:1146]Table which ID = 0 does not exist.", path);
}

static const struct mg_source_ops fake_source_ops = {.name = "fake", .fetch = fake_fetch};

static inline void fake_init(struct fake_source *fake)
{
    *fake = (struct fake_source){.source = {.ops = &fake_source_ops}};
}

static inline void fake_clear(struct fake_source *fake)
{
    for (unsigned i = 0; i < fake->count; i++) {
        free(fake->paths[i]);
        free(fake->texts[i]);
    }
    fake->count = 0;
}

/* The newest answer for a path counts. */
static inline void fake_answer(struct fake_source *fake, const char *path, const char *text)
{
    assert_true(fake->count < FAKE_ANSWERS_MAX);
    fake->paths[fake->count] = strdup(path);
    fake->texts[fake->count++] = strdup(text);
}

/* A TableInfo from short words: "id i, a i, b v" is columns 1 to 3, the first one the key. Each column: [ID=]NAME TYPE,
 * with TYPE one of i (INT), I (BIGINT), v (VARCHAR), j (JSON), d (DATE). "-" in front of everything: no clustered key.
 * Rotates over 4 buffers. */
static inline const char *table_json(int64_t id, const char *name, const char *columns)
{
    static char texts[4][8192];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    const bool heap = *columns == '-';
    int64_t column_id = 0, max_id = 0;
    char column[64], type;
    int used, size = 0;

    size += snprintf(text + size, 8192 - (size_t)size,
                     "{\"id\":%" PRId64 ",\"name\":{\"O\":\"%s\"},\"pk_is_handle\":%s,\"cols\":[", id, name,
                     heap ? "false" : "true");
    columns += heap;
    for (bool first = true; sscanf(columns, " %63[^ ,=]%n", column, &used) == 1; first = false) {
        columns += used;
        column_id++;
        if (*columns == '=') {
            column_id = strtoll(column, NULL, 10);
            assert_int_equal(sscanf(columns, "=%63[^ ,]%n", column, &used), 1);
            columns += used;
        }
        assert_int_equal(sscanf(columns, " %c%n", &type, &used), 1);
        columns += used;
        columns += *columns == ',';
        max_id = column_id > max_id ? column_id : max_id;
        const bool text_type = type == 'v';
        size += snprintf(
            text + size, 8192 - (size_t)size,
            "%s{\"id\":%" PRId64 ",\"name\":{\"O\":\"%s\"},\"state\":5,\"type\":{\"Tp\":%d,\"Flag\":%d,\"Flen\":20,"
            "\"Decimal\":0,\"Charset\":\"%s\",\"Collate\":\"%s\"}}",
            first ? "" : ",", column_id, column,
            type == 'i'   ? 3
            : type == 'I' ? 8
            : type == 'v' ? 15
            : type == 'd' ? 10
                          : 245,
            first && !heap ? 3 : 0, text_type ? "utf8mb4" : "binary", text_type ? "utf8mb4_bin" : "binary");
    }
    snprintf(text + size, 8192 - (size_t)size, "],\"max_col_id\":%" PRId64 "}", max_id);
    return text;
}

/* A finished job in database d; info is a TableInfo or NULL, more is further JSON members ("" or ",\"x\":..."). Rotates
 * over 2 buffers. */
static inline const char *job_json(int64_t id, int type, int64_t version, int64_t table_id, const char *info,
                                   const char *more)
{
    static char texts[2][32768];
    static unsigned turn;
    char *text = texts[turn++ % 2];

    snprintf(text, 32768,
             "[{\"id\":%" PRId64 ",\"type\":%d,\"state\":6,\"schema_name\":\"d\",\"table_id\":%" PRId64
             ",\"query\":\"STATEMENT %" PRId64 "\",\"binlog\":{\"SchemaVersion\":%" PRId64 ",\"TableInfo\":%s}%s}]",
             id, type, table_id, id, version, info ? info : "null", more);
    return text;
}

#endif
