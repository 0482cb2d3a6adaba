/* do_get.c -- DoGet: a ticket in, a stream of record batches out.
 *
 * The ticket is checked as a whole before the engine is asked for anything. The schema message goes out first, also
 * when no row follows. An error after data is the status of the stream: a partial result never ends with OK.
 * Behind a whole result a trailer says what it took ("magic-scan").
 * A slow reader blocks this handler in its send, and so its scan, and nobody else; a vanished one is seen at the next
 * batch, or in a scan that works long for one, at the next block of rows.
 * Threads  the handler's; the scan of an aggregate that is not split has some of its own while it is asked.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/clock.h"
#include "base/counter.h"
#include "connector/flight/flight_internal.h"

enum {
    BATCH_BYTES_AIM = 1 << 20, /* ask the engine for fewer rows when they are wide */
    BATCH_ROWS = 8192,         /* the engine's own size */
    TEXT_BYTES_GUESS = 24,
    KEEP_EVERY_BATCHES = 64, /* how often a running stream keeps a shared lease alive */
    REPORT_TEXT_MAX = 160,
};

/* What a scan took, for the reader. */
struct report {
    struct mg_scan_work work;
    int64_t spent_ns; /* until batches were there to be sent */
};

/* Rows of a batch so that wide rows do not make huge batches. */
static uint32_t batch_rows(const struct mg_flight__scan *scan)
{
    uint64_t row_bytes = 1;

    for (uint32_t i = 0; i < scan->field_count; i++) {
        uint32_t width = mg_type_width(scan->fields[i].type.id);
        row_bytes += width ? width : TEXT_BYTES_GUESS;
    }
    uint64_t rows = BATCH_BYTES_AIM / row_bytes / 64 * 64;
    return (uint32_t)MG_MIN(MG_MAX(rows, 64u), (uint64_t)BATCH_ROWS);
}

/* The trailer of a stream that is whole. */
static enum mg_code add_report(const struct mg_flight__request *request, const struct mg_flight__stream *stream,
                               struct report *report, struct mg_error *err)
{
    char text[REPORT_TEXT_MAX]; /* five numbers of up to 20 digits, and their names */

    snprintf(text, sizeof text, "rows=%llu bytes=%llu blocks=%llu skipped=%llu us=%llu",
             (unsigned long long)stream->row_count, (unsigned long long)stream->byte_count,
             (unsigned long long)atomic_load_explicit(&report->work.blocks_read, memory_order_relaxed),
             (unsigned long long)atomic_load_explicit(&report->work.blocks_skipped, memory_order_relaxed),
             (unsigned long long)(report->spent_ns / 1000));
    return mg_grpc_call_add_trailer(request->call, "magic-scan", text, err);
}

/* The next batch as the profile wants it, or *out NULL at the end. */
static enum mg_code next_batch(const struct mg_flight__request *request, const struct mg_flight__scan *scan,
                               struct mg_scan *rows, struct report *report, struct mg_batch **out, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *batch = NULL;
    int64_t began_ns = mg_mono_ns(mg_clock_system());

    enum mg_code code = request->flight->engine->ops->next(rows, &batch, err);
    if (code == MG_OK && batch)
        code = mg_profile_batch(scan->profile, batch, request->flight->budget, out, err);
    report->spent_ns += mg_mono_ns(mg_clock_system()) - began_ns;
    return code;
}

static enum mg_code send_all(struct mg_flight__request *request, struct mg_flight__stream *stream,
                             const struct mg_flight__scan *scan, struct mg_scan *rows, struct report *report,
                             uint64_t lease, struct mg_error *err)
{
    for (unsigned batches = 1;; batches++) {
        MG_CLEANUP(mg_batch_unrefp) struct mg_batch *shown = NULL;
        if (mg_grpc_call_cancelled(request->call))
            return mg_fail(err, MG_CANCELLED, "the reader went away");
        MG_TRY(next_batch(request, scan, rows, report, &shown, err));
        if (!shown)
            return add_report(request, stream, report, err);
        MG_TRY(mg_flight__send_batch(stream, shown, err));
        if (batches % KEEP_EVERY_BATCHES == 0)
            mg_latch_keep(request->flight->latch, lease);
    }
}

static bool is_cancelled(const void *call) { return mg_grpc_call_cancelled(call); }

static enum mg_code get_scan(struct mg_flight__request *request, struct mg_flight__stream *stream,
                             const Magic__V1__TicketBody *body, struct mg_snapshot *snapshot, struct mg_error *err)
{
    const struct mg_engine_ops *ops = request->flight->engine->ops;
    struct mg_flight__scan scan = {0};
    struct mg_scan *rows = NULL;
    struct report report = {.spent_ns = 0};
    int64_t began_ns = mg_mono_ns(mg_clock_system());

    enum mg_code code = mg_flight__scan_resolve_ticket(&scan, snapshot, body, &request->arena, err);
    if (code == MG_OK) {
        struct mg_scan_spec spec = {
            .table_id = body->table_id,
            .columns = scan.columns,
            .column_count = scan.column_count,
            .predicate = scan.predicate,
            .aggregate = scan.aggregate,
            .limit = scan.limit,
            .order = scan.order,
            .order_count = scan.order_count,
            .batch_rows_max = batch_rows(&scan),
            .budget = request->flight->budget,
            .is_cancelled = is_cancelled,
            .cancel_arg = request->call,
            .work = &report.work,
        };
        if (body->range)
            spec.range = (struct mg_key_range){.low = mg_flight__bytes(body->range->low),
                                               .high = mg_flight__bytes(body->range->high)};
        if (!spec.range.low.size && !spec.range.high.size) /* splits are read side by side as it is */
            spec.threads = atomic_load_explicit(&request->flight->scan_threads, memory_order_relaxed);
        int left_ms = MG_FLIGHT__READ_WAIT_MS;
        do
            code = ops->scan(snapshot, &spec, &rows, err);
        while (mg_flight__waits(request, code, &left_ms));
    }
    if (code == MG_OK) {
        report.spent_ns = mg_mono_ns(mg_clock_system()) - began_ns;
        mg_count(scan_opened, 1);
        code = mg_flight__send_schema(stream, scan.fields, scan.field_count, err);
    }
    if (code == MG_OK)
        code = send_all(request, stream, &scan, rows, &report, body->lease, err);
    ops->scan_close(rows);
    mg_count(scan_blocks, atomic_load_explicit(&report.work.blocks_read, memory_order_relaxed));
    mg_count(scan_blocks_skipped, atomic_load_explicit(&report.work.blocks_skipped, memory_order_relaxed));
    mg_flight__scan_clear(&scan);
    mg_latch_keep(request->flight->latch, body->lease);
    return code;
}

static enum mg_code get_show(struct mg_flight__request *request, struct mg_flight__stream *stream,
                             const Magic__V1__TicketBody *body, struct mg_snapshot *snapshot, struct mg_error *err)
{
    MG_CLEANUP(mg_batch_unrefp) struct mg_batch *batch = NULL;
    Magic__V1__SqlStatement *statement = NULL;
    struct mg_field *fields = NULL;
    uint32_t field_count = 0;

    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__sql_statement__descriptor, mg_flight__bytes(body->show),
                             "the ticket's statement", &request->arena, &statement, err));
    MG_TRY(mg_flight__show_fields(statement->sql, &request->arena, &fields, &field_count, err));
    MG_TRY(mg_flight__show_batch(statement, snapshot, &request->arena, request->flight->budget, &batch, err));
    MG_TRY(mg_flight__send_schema(stream, fields, field_count, err));
    return batch->row_count ? mg_flight__send_batch(stream, batch, err) : MG_OK;
}

static enum mg_code do_get(struct mg_flight__request *request, struct mg_error *err)
{
    struct mg_flight *flight = request->flight;
    Arrow__Flight__Protocol__Ticket *ticket = NULL;
    Magic__V1__TicketBody *body = NULL;
    struct mg_snapshot *snapshot = NULL;
    struct mg_flight__stream stream;

    MG_TRY(MG_FLIGHT__UNPACK(arrow__flight__protocol__ticket__descriptor, request->bytes, "the Flight ticket",
                             &request->arena, &ticket, err));
    MG_TRY(mg_flight__ticket_read(flight->latch, flight->engine->ops->store_id(flight->engine),
                                  mg_flight__bytes(ticket->ticket), &request->arena, &body, err));
    MG_TRY(mg_latch_open(flight->latch, body->lease, body->epoch, body->expires_ms, &snapshot, err));
    mg_flight__stream_init(&stream, request->call);
    enum mg_code code = body->scan ? get_scan(request, &stream, body, snapshot, err)
                                   : get_show(request, &stream, body, snapshot, err);
    mg_flight__stream_end(&stream); /* before the snapshot goes: batches under way are its memory */
    flight->engine->ops->snapshot_unref(snapshot);
    return code;
}

enum mg_code mg_flight__do_get(struct mg_grpc_call *call, void *arg, struct mg_error *err)
{
    struct mg_flight__request request;

    enum mg_code code = mg_flight__request_begin(&request, arg, call, err);
    if (code == MG_OK)
        code = do_get(&request, err);
    mg_flight__request_end(&request);
    return code;
}
