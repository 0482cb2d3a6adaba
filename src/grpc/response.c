/* response.c -- what a server sends on one stream: headers, messages, trailers.
 *
 *   headers (200, initial metadata) -- data, as the window takes it -- trailers (grpc-status, magic-code, trailing
 *   metadata) or, for an error before anything else, all of it in one HEADERS frame ("trailers only")
 *
 * Messages are not copied: the data source names a length, and when nghttp2 has made the frame's head the bytes go to
 * the connection's output by pointer. An early status (deadline, refusal) does not wait for data that the window holds
 * back.
 * Threads  the I/O thread. Metadata of the handler is read once it cannot change any more: headers after the first
 *          message, trailers after the handler ended.
 * Source   gRPC over HTTP/2: Response; nghttp2 submit_response, submit_trailer, NO_COPY.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

enum { OWN_HEADERS = 6 }; /* those that are ours, in one block */

static const char content_type[] = "application/grpc";

static void broken(struct mg_grpc_call *call) { call->connection->broken = true; }

/* What the status of a call is in headers; texts live as long as the call of fill_status's caller. */
static size_t fill_status(nghttp2_nv *nv, int status, enum mg_code code, const char *text,
                          char encoded[static MG_GRPC__ENCODED_MAX])
{
    size_t count = 0;
    nv[count++] = mg_grpc__nv("grpc-status", mg_grpc__status_text(status));
    if (status == MG_GRPC_OK)
        return count;
    mg_grpc__percent_encode(text, encoded);
    nv[count++] = mg_grpc__nv("grpc-message", encoded);
    nv[count++] = mg_grpc__nv("magic-code", mg_code_name(code));
    return count;
}

static nghttp2_nv *new_nv(size_t own, const struct mg_grpc__headers *more)
{
    return calloc(own + (more ? more->count : 0), sizeof(nghttp2_nv));
}

static size_t add_metadata(nghttp2_nv *nv, size_t count, const struct mg_grpc__headers *more)
{
    if (more)
        for (const struct mg_grpc__header *header = more->first; header; header = header->next)
            nv[count++] = mg_grpc__nv_header(header);
    return count;
}

/* more: the handler's, or NULL when it may be adding to them. */
static void submit_trailers_only(struct mg_grpc_call *call, int status, enum mg_code code, const char *text,
                                 const struct mg_grpc__headers *more)
{
    char encoded[MG_GRPC__ENCODED_MAX];
    nghttp2_nv *nv = new_nv(OWN_HEADERS, more);
    if (!nv) {
        broken(call);
        return;
    }
    size_t count = 0;
    nv[count++] = mg_grpc__nv(":status", "200");
    nv[count++] = mg_grpc__nv("content-type", content_type);
    count += fill_status(nv + count, status, code, text, encoded);
    if (status == MG_GRPC_UNIMPLEMENTED)
        nv[count++] = mg_grpc__nv("grpc-accept-encoding", "identity");
    count = add_metadata(nv, count, more);
    if (nghttp2_submit_response(call->connection->session, call->stream_id, nv, count, NULL) != 0)
        broken(call);
    free(nv);
    call->status_sent = true;
}

static void submit_trailers(struct mg_grpc_call *call, int status, enum mg_code code, const char *text,
                            const struct mg_grpc__headers *more)
{
    char encoded[MG_GRPC__ENCODED_MAX];
    nghttp2_nv *nv = new_nv(OWN_HEADERS, more);
    if (!nv) {
        broken(call);
        return;
    }
    size_t count = fill_status(nv, status, code, text, encoded);
    count = add_metadata(nv, count, more);
    if (nghttp2_submit_trailer(call->connection->session, call->stream_id, nv, count) != 0)
        broken(call);
    free(nv);
    call->status_sent = true;
}

static ssize_t read_output(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    struct mg_grpc_call *call = source->ptr;
    if (call->status_sent)
        return NGHTTP2_ERR_DEFERRED; /* an early status is on its way */
    size_t size = MG_MIN(length, call->sending_bytes);
    if (size == 0 && !call->finished) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (call->finished && size == call->sending_bytes) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailers(call, call->status, call->code, call->text, &call->response_trailers);
    }
    return (ssize_t)size;
}

/* Without a data source when no message comes. */
static void submit_headers(struct mg_grpc_call *call)
{
    nghttp2_nv *nv = new_nv(OWN_HEADERS, &call->response_headers);
    if (!nv) {
        broken(call);
        return;
    }
    size_t count = 0;
    nv[count++] = mg_grpc__nv(":status", "200");
    nv[count++] = mg_grpc__nv("content-type", content_type);
    count = add_metadata(nv, count, &call->response_headers);
    nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_output};
    nghttp2_session *session = call->connection->session;
    int32_t result = call->sending_bytes > 0
                         ? nghttp2_submit_response(session, call->stream_id, nv, count, &provider)
                         : nghttp2_submit_headers(session, NGHTTP2_FLAG_NONE, call->stream_id, NULL, nv, count, NULL);
    if (result != 0)
        broken(call);
    free(nv);
    call->begun = true;
}

void mg_grpc__response_continue(struct mg_grpc_call *call)
{
    if (call->status_sent || (call->sending_bytes == 0 && !call->finished))
        return;
    if (!call->begun && call->sending_bytes == 0 && call->status != MG_GRPC_OK && call->response_headers.count == 0) {
        submit_trailers_only(call, call->status, call->code, call->text, &call->response_trailers);
        return;
    }
    if (!call->begun)
        submit_headers(call);
    if (call->sending_bytes == 0) {
        /* Not through the data source: that waits for window even when there is nothing to send. */
        submit_trailers(call, call->status, call->code, call->text, &call->response_trailers);
    } else if (call->deferred) {
        call->deferred = false;
        if (nghttp2_session_resume_data(call->connection->session, call->stream_id) == NGHTTP2_ERR_NOMEM)
            broken(call);
    }
}

void mg_grpc__response_status(struct mg_grpc_call *call, int status, enum mg_code code, const char *text)
{
    if (call->status_sent)
        return;
    if (call->begun)
        submit_trailers(call, status, code, text, NULL);
    else
        submit_trailers_only(call, status, code, text, NULL);
    mg_grpc__connection_dirty(call->connection);
}

void mg_grpc__response_http(struct mg_grpc_call *call, const char *http_status)
{
    nghttp2_nv nv[] = {mg_grpc__nv(":status", http_status), mg_grpc__nv("content-length", "0")};
    if (nghttp2_submit_response(call->connection->session, call->stream_id, nv, MG_COUNT_OF(nv), NULL) != 0)
        broken(call);
    call->status_sent = true;
    mg_grpc__connection_dirty(call->connection);
}
