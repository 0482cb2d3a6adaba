/* span.c -- windows that are counted, and a reader that moves one over what is not in memory.
 * Threads  owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/span.h"

#include <stdlib.h>

void mg_window_clear(struct mg_window *window)
{
    free(window->data);
    mg_budget_release(window->budget, window->capacity);
    window->data = NULL;
    window->capacity = 0;
}

enum mg_code mg_window_grow(struct mg_window *window, size_t capacity, size_t kept, struct mg_error *err)
{
    if (capacity <= window->capacity)
        return MG_OK;
    if (kept == 0) /* not both at once */
        mg_window_clear(window);
    MG_TRY(mg_budget_reserve(window->budget, capacity, err));
    uint8_t *data = malloc(capacity);
    if (!data) {
        mg_budget_release(window->budget, capacity);
        return mg_fail(err, MG_NO_MEMORY, "no memory to read %zu bytes at once", capacity);
    }
    if (kept)
        memcpy(data, window->data, kept);
    mg_window_clear(window);
    window->data = data;
    window->capacity = capacity;
    return MG_OK;
}

void mg_span_reader_turn(struct mg_span_reader *reader, const struct mg_span *span)
{
    if (span->source) {
        if (reader->window.budget != span->source->budget)
            mg_window_clear(&reader->window);
        reader->window.budget = span->source->budget;
        reader->in = mg_reader_of(MG_SLICE(NULL, 0));
        reader->rest = *span;
    } else {
        reader->in = mg_reader_of(MG_SLICE(span->data, (size_t)span->size));
        reader->rest = (struct mg_span){.data = NULL};
    }
}

void mg_span_reader_clear(struct mg_span_reader *reader)
{
    mg_window_clear(&reader->window);
    reader->in = mg_reader_of(MG_SLICE(NULL, 0));
    reader->rest = (struct mg_span){.data = NULL};
}

enum mg_code mg_span_reader_fill(struct mg_span_reader *reader, size_t size, struct mg_error *err)
{
    struct mg_window *window = &reader->window;
    size_t have = mg_reader_left(&reader->in);
    size_t want = (size_t)MG_MIN(MG_MAX((uint64_t)size, (uint64_t)MG_SPAN_WINDOW), have + reader->rest.size);
    bool failed = reader->in.failed;
    if (have && window->capacity >= want)
        memmove(window->data, reader->in.at, have);
    else if (have) {
        size_t at = (size_t)(reader->in.at - window->data);
        MG_TRY(mg_window_grow(window, want, at + have, err));
        memmove(window->data, window->data + at, have);
    } else {
        reader->in = mg_reader_of(MG_SLICE(NULL, 0)); /* the window may move */
        MG_TRY(mg_window_grow(window, want, 0, err));
    }
    reader->in = mg_reader_of(MG_SLICE(window->data, have));
    reader->in.failed = failed;
    MG_TRY(reader->rest.source->read(reader->rest.source->arg, reader->rest.offset, want - have, window->data + have,
                                     err));
    reader->in.end = window->data + want;
    reader->rest.offset += want - have;
    reader->rest.size -= want - have;
    return MG_OK;
}

bool mg_span_reader_skip(struct mg_span_reader *reader, uint64_t size)
{
    uint64_t here = MG_MIN(size, (uint64_t)mg_reader_left(&reader->in));
    if (reader->in.failed || size - here > reader->rest.size) {
        reader->in.failed = true;
        return false;
    }
    if (here)
        reader->in.at += here;
    reader->rest.offset += size - here;
    reader->rest.size -= size - here;
    return true;
}

struct mg_span mg_span_reader_ahead(const struct mg_span_reader *reader, uint64_t size)
{
    size_t have = mg_reader_left(&reader->in);
    if (!reader->rest.source)
        return mg_span_of(MG_SLICE(reader->in.at, (size_t)size));
    return (struct mg_span){.size = size, .source = reader->rest.source, .offset = reader->rest.offset - have};
}
