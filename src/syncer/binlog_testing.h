/* binlog_testing.h -- makes TiDB's binlog messages, for tests.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_BINLOG_TESTING_H
#define MG_SYNCER_BINLOG_TESTING_H

#include <string.h>

#include "base/bytes.h"
#include "syncer/source/binlog.h"

/* A message on the stack; its room bounds it. */
struct mg_test_message {
    uint8_t bytes[512];
    size_t size;
};

static inline void mg_test_put_number(struct mg_test_message *message, uint32_t field, uint64_t value)
{
    message->size += mg_varint_put(message->bytes + message->size, (uint64_t)field << 3);
    message->size += mg_varint_put(message->bytes + message->size, value);
}

static inline void mg_test_put_bytes(struct mg_test_message *message, uint32_t field, struct mg_slice bytes)
{
    message->size += mg_varint_put(message->bytes + message->size, (uint64_t)field << 3 | 2);
    message->size += mg_varint_put(message->bytes + message->size, bytes.size);
    if (bytes.size)
        memcpy(message->bytes + message->size, bytes.data, bytes.size);
    message->size += bytes.size;
}

static inline struct mg_slice mg_test_slice(const struct mg_test_message *message)
{
    return MG_SLICE(message->bytes, message->size);
}

/* Like TiDB: scalars always, byte fields when they are not empty. */
static inline struct mg_test_message mg_test_binlog(const struct mg_binlog *binlog)
{
    struct mg_test_message message = {.size = 0};
    mg_test_put_number(&message, 1, binlog->type);
    mg_test_put_number(&message, 2, binlog->start_ts);
    mg_test_put_number(&message, 3, binlog->commit_ts);
    if (binlog->prewrite_key.size)
        mg_test_put_bytes(&message, 4, binlog->prewrite_key);
    if (binlog->prewrite_value.size)
        mg_test_put_bytes(&message, 5, binlog->prewrite_value);
    if (binlog->ddl_query.size)
        mg_test_put_bytes(&message, 6, binlog->ddl_query);
    mg_test_put_number(&message, 7, (uint64_t)binlog->ddl_job_id);
    mg_test_put_number(&message, 8, (uint64_t)binlog->ddl_schema_state);
    return message;
}

/* A PrewriteValue of schema version 1 that names a table and no row. */
static inline struct mg_test_message mg_test_prewrite_value(uint64_t table_id)
{
    struct mg_test_message mutation = {.size = 0}, value = {.size = 0};
    mg_test_put_number(&mutation, 1, table_id);
    mg_test_put_number(&value, 1, 1);
    mg_test_put_bytes(&value, 2, mg_test_slice(&mutation));
    return value;
}

/* P of a transaction on that table; its key is its start_ts. */
static inline struct mg_test_message mg_test_prewrite(uint64_t start_ts, uint64_t table_id)
{
    struct mg_test_message value = mg_test_prewrite_value(table_id);
    struct mg_binlog binlog = {.type = MG_BINLOG_PREWRITE,
                               .start_ts = start_ts,
                               .prewrite_key = MG_SLICE(&start_ts, sizeof start_ts),
                               .prewrite_value = mg_test_slice(&value)};
    return mg_test_binlog(&binlog);
}

static inline struct mg_test_message mg_test_end(enum mg_binlog_type type, uint64_t start_ts, uint64_t commit_ts)
{
    struct mg_binlog binlog = {.type = type,
                               .start_ts = start_ts,
                               .commit_ts = commit_ts,
                               .prewrite_key = MG_SLICE(&start_ts, sizeof start_ts)};
    return mg_test_binlog(&binlog);
}

#endif
