/* span.h -- bytes that lie in memory, or are read in pieces from where they are; and a reader over either.
 *
 * A message of a gigabyte in a journal is a span: who decodes it holds a window of it, not all. Over memory a reader
 * copies nothing and its window stays empty.
 * Limits   a window is as large as the largest piece that was asked for at once (MG_SPAN_WINDOW at least, where the
 *          span has as much), and counted in the source's budget.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_SPAN_H
#define MG_BASE_SPAN_H

#include "base/budget.h"
#include "base/bytes.h"
#include "base/error.h"

/* ---- counted memory ------------------------------------------------------------------------------------------ */

/* Owns data. Zeroed memory, but for the budget, is an empty one. */
struct mg_window {
    uint8_t *data;
    size_t capacity;          /* bytes; reserved in the budget */
    struct mg_budget *budget; /* may be NULL */
};
/* At least that capacity; the first kept bytes stay. An error leaves it as it was, but when nothing is to be kept:
 * then it may be empty. */
MG_MUST_CHECK enum mg_code mg_window_grow(struct mg_window *window, size_t capacity, size_t kept, struct mg_error *err);
void mg_window_clear(struct mg_window *window); /* it may be used again */

/* ---- spans --------------------------------------------------------------------------------------------------- */

/* Where bytes are read from. */
struct mg_span_source {
    /* Exactly these bytes; they are there. */
    enum mg_code (*read)(void *arg, uint64_t offset, size_t size, uint8_t *out, struct mg_error *err);
    void *arg;
    struct mg_budget *budget; /* of the readers' windows; may be NULL */
};

/* Borrows its bytes or its source. */
struct mg_span {
    const uint8_t *data; /* in memory; with a source NULL */
    uint64_t size;
    const struct mg_span_source *source; /* NULL: in memory */
    uint64_t offset;                     /* of the first byte in the source */
};

static inline struct mg_span mg_span_of(struct mg_slice bytes)
{
    return (struct mg_span){.data = bytes.data, .size = bytes.size};
}
/* A part of it: offset + size <= span->size. */
static inline struct mg_span mg_span_part(const struct mg_span *span, uint64_t offset, uint64_t size)
{
    return (struct mg_span){.data = span->data ? span->data + offset : NULL,
                            .size = size,
                            .source = span->source,
                            .offset = span->offset + offset};
}

/* ---- readers ------------------------------------------------------------------------------------------------- */

enum { MG_SPAN_WINDOW = 64 << 10 };

/* Zeroed memory may be turned and cleared. Owns window. */
struct mg_span_reader {
    struct mg_reader in; /* what is at hand */
    struct mg_span rest; /* what follows it */
    struct mg_window window;
};

/* To the start of a span; what was at hand is gone, the window's memory stays. */
void mg_span_reader_turn(struct mg_span_reader *reader, const struct mg_span *span);
void mg_span_reader_clear(struct mg_span_reader *reader);

static inline uint64_t mg_span_reader_left(const struct mg_span_reader *reader)
{
    return mg_reader_left(&reader->in) + reader->rest.size;
}
/* The slow half of mg_span_reader_need. */
MG_MUST_CHECK enum mg_code mg_span_reader_fill(struct mg_span_reader *reader, size_t size, struct mg_error *err);
/* At least size bytes at hand, or all that are left: then reader->in ends where the span does. Errors are those of
 * reading and of the budget. What was taken from `in` before is gone. */
static inline MG_MUST_CHECK enum mg_code mg_span_reader_need(struct mg_span_reader *reader, size_t size,
                                                             struct mg_error *err)
{
    if (mg_reader_left(&reader->in) >= size || reader->rest.size == 0)
        return MG_OK;
    return mg_span_reader_fill(reader, size, err);
}
/* size bytes in one piece, borrowed until the next call; reader->in has failed when they are not there. */
static inline MG_MUST_CHECK enum mg_code mg_span_reader_take(struct mg_span_reader *reader, uint64_t size,
                                                             struct mg_slice *out, struct mg_error *err)
{
    MG_TRY(mg_span_reader_need(reader, size > mg_span_reader_left(reader) ? 0 : (size_t)size, err));
    *out = mg_reader_take(&reader->in, size);
    return MG_OK;
}
/* Pass over size bytes, unread where they are not at hand; false, and reader->in has failed: there are not as many. */
bool mg_span_reader_skip(struct mg_span_reader *reader, uint64_t size);
/* The next size bytes, which are there, as a span; the reader stays where it is. */
struct mg_span mg_span_reader_ahead(const struct mg_span_reader *reader, uint64_t size);

#endif
