/* pump_write_fuzz.c -- any bytes as a WriteBinlogReq and as a Binlog: what is read lies inside the input, and damage is
 * an error.
 * SPDX-License-Identifier: Apache-2.0 */
#include "syncer/source/binlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct mg_slice part, struct mg_slice whole)
{
    return part.size == 0 || (part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

static void read_binlog(struct mg_slice payload)
{
    struct mg_binlog binlog;
    int64_t ids[4];
    enum mg_code code = mg_binlog_read(payload, &binlog, NULL);
    mg_assert(code == MG_OK || code == MG_PROTOCOL);
    if (code != MG_OK)
        return;
    mg_assert(binlog.type <= MG_BINLOG_POST_DDL);
    mg_assert(binlog.start_ts <= INT64_MAX && binlog.commit_ts <= INT64_MAX);
    mg_assert(is_inside(binlog.prewrite_key, payload));
    mg_assert(is_inside(binlog.prewrite_value, payload));
    mg_assert(is_inside(binlog.ddl_query, payload));
    struct mg_span value = mg_span_of(binlog.prewrite_value);
    uint32_t count = mg_binlog_table_ids(&value, ids, 4);
    mg_assert(count == mg_binlog_table_ids(&value, NULL, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mg_slice whole = MG_SLICE(data, size);
    struct mg_binlog_request request;
    enum mg_code code = mg_binlog_read_request(whole, &request, NULL);
    mg_assert(code == MG_OK || code == MG_PROTOCOL);
    if (code == MG_OK) {
        mg_assert(is_inside(request.payload, whole));
        read_binlog(request.payload);
    }
    read_binlog(whole);
    return 0;
}
