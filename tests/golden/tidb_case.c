/* tidb_case.c -- reads a case, and plays its source.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tidb_case.h"

#include <dirent.h>
#include <inttypes.h>

#include "base/testing.h"

#define CASES MG_SOURCE_DIR "/tests/golden/tidb-binlog/cases"

enum { PREWRITE = 0, COMMIT = 1, ROLLBACK = 2 };

/* A Binlog message. */
struct record {
    uint64_t type, start_ts, commit_ts;
    struct mg_slice rows, query;
    int64_t job_id;
    int32_t schema_state;
};

/* ---- files --------------------------------------------------------------------------------------------------- */

static struct mg_slice read_file(const char *folder, const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be opened", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    rewind(file);
    char *bytes = malloc((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), size);
    bytes[size] = 0;
    fclose(file);
    return MG_SLICE(bytes, (size_t)size);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

char **tidb_case_names(void)
{
    DIR *dir = opendir(CASES);
    char **names = calloc(64, sizeof *names);
    size_t count = 0;

    assert_non_null(dir);
    assert_non_null(names);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && count < 63)
            names[count++] = strdup(entry->d_name);
    closedir(dir);
    qsort(names, count, sizeof *names, compare_names);
    return names;
}

/* ---- the stream ---------------------------------------------------------------------------------------------- */

static struct record read_record(struct mg_slice payload)
{
    struct mg_reader in = mg_reader_of(payload);
    struct record record = {0};

    while (mg_reader_left(&in) > 0) {
        uint64_t tag = mg_reader_varint(&in), number = 0;
        struct mg_slice bytes = {NULL, 0};
        if ((tag & 7) == 0)
            number = mg_reader_varint(&in);
        else
            bytes = mg_reader_bytes(&in);
        assert_false(in.failed);
        switch (tag >> 3) {
        case 1: record.type = number; break;
        case 2: record.start_ts = number; break;
        case 3: record.commit_ts = number; break;
        case 5: record.rows = bytes; break;
        case 6: record.query = bytes; break;
        case 7: record.job_id = (int64_t)number; break;
        case 8: record.schema_state = (int32_t)number; break;
        default: break;
        }
    }
    return record;
}

static int compare_txns(const void *a, const void *b)
{
    const struct mg_txn *x = a, *y = b;
    return (x->commit_ts > y->commit_ts) - (x->commit_ts < y->commit_ts);
}

/* Matches each commit with its prewrite, the newest of that start_ts before it. */
static void read_stream(struct tidb_case *c)
{
    struct mg_slice file = read_file(c->folder, "case.binlog");
    struct mg_reader in = mg_reader_of(file);
    struct record *prewrites = NULL;
    size_t open_count = 0, room = 0;

    c->bytes = (uint8_t *)(uintptr_t)file.data;
    c->txns = calloc(file.size / 8 + 1, sizeof *c->txns);
    while (mg_reader_left(&in) > 0) {
        struct mg_slice payload = mg_reader_take(&in, mg_reader_be32(&in));
        assert_false(in.failed);
        struct record record = read_record(payload);
        c->record_count++;
        if (record.type == PREWRITE) {
            if (open_count == room) {
                room = room ? room * 2 : 64;
                prewrites = realloc(prewrites, room * sizeof *prewrites);
                assert_non_null(prewrites);
            }
            prewrites[open_count++] = record;
            continue;
        }
        size_t at = open_count;
        while (at > 0 && prewrites[at - 1].start_ts != record.start_ts)
            at--;
        assert_true(at > 0);
        struct record prewrite = prewrites[at - 1];
        memmove(prewrites + at - 1, prewrites + at, (open_count - at) * sizeof *prewrites);
        open_count--;
        if (record.type == ROLLBACK) {
            c->rollback_count++;
            continue;
        }
        assert_int_equal(record.type, COMMIT);
        c->txns[c->txn_count++] = (struct mg_txn){
            .kind = prewrite.job_id ? MG_TXN_DDL : MG_TXN_ROWS,
            .start_ts = record.start_ts,
            .commit_ts = record.commit_ts,
            .rows = mg_span_of(prewrite.rows),
            .job_id = prewrite.job_id,
            .job_schema_state = prewrite.schema_state,
            .query = prewrite.query,
        };
    }
    assert_int_equal(open_count, 0);
    free(prewrites);
    qsort(c->txns, c->txn_count, sizeof *c->txns, compare_txns);
}

static void read_checks(struct tidb_case *c)
{
    struct mg_slice file = read_file(c->folder, "checks.tsv");
    char *rest = (char *)(uintptr_t)file.data;

    c->checks = calloc(64, sizeof *c->checks);
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        struct tidb_check *check = &c->checks[c->check_count++];
        assert_int_equal(sscanf(line, "%63s %" SCNu64, check->name, &check->ts), 2);
    }
    free((void *)(uintptr_t)file.data);
}

/* ---- the source ---------------------------------------------------------------------------------------------- */

static uint64_t member_u64(json_object *object, const char *name)
{
    json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return json_object_get_uint64(value);
}

static json_object *member(json_object *object, const char *name)
{
    json_object *value = NULL;
    json_object_object_get_ex(object, name, &value);
    return value;
}

/* limit jobs from start (0: the newest) downwards, as far as they had finished. */
static json_object *answer_history(struct tidb_case *c, uint64_t start, unsigned limit)
{
    json_object *answer = json_object_new_array();
    for (size_t i = json_object_array_length(c->history); i-- > 0 && json_object_array_length(answer) < limit;) {
        json_object *job = json_object_array_get_idx(c->history, i);
        if ((start && member_u64(job, "id") > start) || member_u64(member(job, "binlog"), "FinishedTS") > c->moment_ts)
            continue;
        json_object_array_add(answer, json_object_get(job));
    }
    return answer;
}

static json_object *answer_databases(struct tidb_case *c)
{
    json_object *answer = json_object_new_array();
    if (c->moment_ts == UINT64_MAX) {
        json_object_object_foreach(c->schema, name, entry)
        {
            (void)name;
            json_object_array_add(answer, json_object_get(member(entry, "db")));
        }
    }
    return answer;
}

static json_object *answer_table(struct tidb_case *c, uint64_t id)
{
    if (c->moment_ts != UINT64_MAX)
        return NULL;
    json_object_object_foreach(c->schema, name, entry)
    {
        (void)name;
        json_object *tables = member(entry, "tables");
        for (size_t i = 0; tables && i < json_object_array_length(tables); i++) {
            json_object *table = json_object_array_get_idx(tables, i);
            if (member_u64(table, "id") != id)
                continue;
            json_object *answer = json_object_new_object();
            json_object_object_add(answer, "db_info", json_object_get(member(entry, "db")));
            json_object_object_add(answer, "table_info", json_object_get(table));
            return answer;
        }
    }
    return NULL;
}

static void decode_percent(const char *from, char *to, size_t room)
{
    size_t used = 0;
    for (; *from && used + 1 < room; from++) {
        unsigned byte = (uint8_t)*from;
        if (*from == '%' && sscanf(from + 1, "%2x", &byte) == 1)
            from += 2;
        to[used++] = (char)byte;
    }
    to[used] = 0;
}

static enum mg_code case_fetch(struct mg_source *source, const char *path, struct mg_arena *arena, struct mg_slice *out,
                               struct mg_error *err)
{
    struct tidb_case *c = (struct tidb_case *)source;
    json_object *answer = NULL;
    uint64_t start = 0, id;
    unsigned limit;
    char database[256];

    c->fetch_count++;
    if (c->away)
        return mg_fail(err, MG_UNAVAILABLE, "connection refused");
    if (sscanf(path, "/ddl/history?start_job_id=%" SCNu64 "&limit=%u", &start, &limit) == 2 ||
        sscanf(path, "/ddl/history?limit=%u", &limit) == 1) {
        answer = answer_history(c, start, limit);
    } else if (strcmp(path, "/schema") == 0) {
        answer = answer_databases(c);
    } else if (sscanf(path, "/db-table/%" SCNu64, &id) == 1) {
        answer = answer_table(c, id);
        if (!answer)
            return mg_fail(err, MG_INVALID, "400: [schema:1146]Table which ID = %" PRIu64 " does not exist.", id);
    } else if (strncmp(path, "/schema/", 8) == 0) {
        decode_percent(path + 8, database, sizeof database);
        json_object *entry = c->moment_ts == UINT64_MAX ? member(c->schema, database) : NULL;
        if (!entry)
            return mg_fail(err, MG_INVALID, "400: [schema:1049]Unknown database '%s'", database);
        answer = json_object_get(member(entry, "tables"));
    } else {
        return mg_fail(err, MG_NOT_FOUND, "404: %s", path);
    }
    const char *text = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN);
    *out = mg_arena_copy(arena, mg_slice_text(text));
    json_object_put(answer);
    return out->data ? MG_OK : mg_arena_fail(arena, err);
}

static const struct mg_source_ops case_ops = {.name = "case", .fetch = case_fetch};

static void read_history(struct tidb_case *c)
{
    struct mg_slice file = read_file(c->folder, "history.json");
    char *rest = (char *)(uintptr_t)file.data;

    c->history = json_object_new_array();
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        json_object *job = json_tokener_parse(line);
        assert_non_null(job);
        json_object_array_add(c->history, job);
    }
    free((void *)(uintptr_t)file.data);
    file = read_file(c->folder, "schema.json");
    c->schema = json_tokener_parse((const char *)file.data);
    assert_non_null(c->schema);
    free((void *)(uintptr_t)file.data);
}

struct tidb_case *tidb_case_load(const char *name)
{
    struct tidb_case *c = calloc(1, sizeof *c);

    assert_non_null(c);
    c->source.ops = &case_ops;
    c->moment_ts = UINT64_MAX;
    snprintf(c->folder, sizeof c->folder, CASES "/%s", name);
    read_stream(c);
    read_checks(c);
    read_history(c);
    return c;
}

void tidb_case_free(struct tidb_case *c)
{
    free(c->bytes);
    free(c->txns);
    free(c->checks);
    json_object_put(c->history);
    json_object_put(c->schema);
    free(c);
}
