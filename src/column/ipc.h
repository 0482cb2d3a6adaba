/* ipc.h -- Arrow IPC: schema and record batch messages out and in, without a FlatBuffers library.
 *
 * Out  a header (the bare FlatBuffers Message, what Flight calls data_header) and a body as pieces that point into the
 *      batch itself, padding included, so that nothing is copied. `encapsulate` puts FFFFFFFF and the length in front.
 * In   every offset, length and count is checked before use; what this version does not read (dictionaries,
 *      compression, nested or other types) is MG_UNIMPLEMENTED by name; damaged input is MG_INVALID.
 * Types  docs/format/types.md. Hidden columns leave only when asked by name. MetadataVersion V5, little endian.
 * Source  Arrow Columnar Format 1.x; reference: Message.fbs, Schema.fbs.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_IPC_H
#define MG_COLUMN_IPC_H

#include <sys/uio.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "column/batch.h"

/* A column as Arrow shows it. */
struct mg_field {
    struct mg_slice name;
    struct mg_type type;
    bool nullable;
    struct mg_slice source_type; /* empty, or sent as field metadata "magic.source_type" */
};

MG_MUST_CHECK enum mg_code mg_ipc_encode_schema(const struct mg_field *fields, uint32_t count, bool encapsulate,
                                                struct mg_buffer *out, struct mg_error *err);

enum { MG_IPC_PIECES_PER_COLUMN = 6 }; /* 3 buffers, each with padding */
/* Header into out_header; the body as at most MG_IPC_PIECES_PER_COLUMN * columns pieces that live as long as the batch
 * (or are static zeros; rebased offsets and unaligned bitmaps go into scratch). *out_body_size is their sum, a multiple
 * of 8. */
MG_MUST_CHECK enum mg_code mg_ipc_encode_batch(const struct mg_batch *batch, bool encapsulate,
                                               struct mg_buffer *out_header, struct mg_arena *scratch,
                                               struct iovec *out_pieces, uint32_t *out_piece_count,
                                               uint64_t *out_body_size, struct mg_error *err);

/* A schema message (with or without the encapsulation); names are copied into the arena. */
MG_MUST_CHECK enum mg_code mg_ipc_decode_schema(struct mg_slice message, struct mg_arena *arena,
                                                struct mg_field **out_fields, uint32_t *out_count,
                                                struct mg_error *err);
/* A record batch message and its body against the fields. The batch copies what it needs from body (aligned) and is
 * checked as a whole: offsets rise, text is in range, null counts are recounted. */
MG_MUST_CHECK enum mg_code mg_ipc_decode_batch(struct mg_slice message, struct mg_slice body,
                                               const struct mg_field *fields, uint32_t field_count,
                                               struct mg_budget *budget, struct mg_batch **out, struct mg_error *err);

/* The stream format, for files and pipes: schema, batches, end marker. */
MG_MUST_CHECK enum mg_code mg_ipc_stream_begin(const struct mg_field *fields, uint32_t count, struct mg_buffer *out,
                                               struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_ipc_stream_batch(const struct mg_batch *batch, struct mg_buffer *out,
                                               struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_ipc_stream_end(struct mg_buffer *out, struct mg_error *err);
/* Walks a stream in memory: MG_OK with *out_batch, or with NULL at its end. `in` moves on. Call first with
 * decode_schema. */
MG_MUST_CHECK enum mg_code mg_ipc_stream_schema(struct mg_reader *in, struct mg_arena *arena,
                                                struct mg_field **out_fields, uint32_t *out_count,
                                                struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_ipc_stream_next(struct mg_reader *in, const struct mg_field *fields, uint32_t field_count,
                                              struct mg_budget *budget, struct mg_batch **out_batch,
                                              struct mg_error *err);

#endif
