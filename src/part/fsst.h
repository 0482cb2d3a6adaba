/* fsst.h -- texts as bytes that stand for symbols of 1 to 16 bytes: short texts shrink alone, and any one can be read.
 *
 * A table has up to 255 symbols; byte 255 says that the next byte stands for itself. A text's codes decode to it
 * without looking at its neighbours.
 * Source   Boncz, Neumann, Leis: FSST, VLDB 2020. Differs: symbols have up to 16 bytes, not 8, so that a word with its
 *          blank is one code.
 * Threads  pure functions; a table is immutable once trained.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_FSST_H
#define MG_PART_FSST_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"

enum {
    MG_FSST__SYMBOLS = 255,
    MG_FSST__SYMBOL_MAX = 16, /* bytes */
    MG_FSST__ESCAPE = 255,
    MG_FSST__SLACK = 16, /* bytes behind a text and a code that may be read and written */
};

/* As it is stored. */
struct mg_fsst__table {
    uint32_t count;
    uint32_t reserved;
    uint8_t lengths[256]; /* 1 to 16 each below count, else 0 */
    uint8_t symbols[][MG_FSST__SYMBOL_MAX];
};

static inline size_t mg_fsst__table_bytes(uint32_t count)
{
    return sizeof(struct mg_fsst__table) + (size_t)count * MG_FSST__SYMBOL_MAX;
}
/* Whether a table lies there, whole. */
bool mg_fsst__table_check(struct mg_slice bytes);

/* Bytes written to out, of which at most room are used, slack not counted; SIZE_MAX when they do not suffice or codes
 * are none of the table's. */
size_t mg_fsst__decode(const struct mg_fsst__table *table, const uint8_t *codes, size_t size, uint8_t *out,
                       size_t room);
/* How the decoded text compares with another, by mg_slice_compare; codes that are none end it. */
int mg_fsst__compare(const struct mg_fsst__table *table, const uint8_t *codes, size_t size, struct mg_slice text);

/* What encodes: a table and the way to its symbols. Borrows the table. */
struct mg_fsst__encoder;
/* Learn a table from texts, each followed by MG_FSST__SLACK readable bytes. Lives in the arena; NULL when it is
 * full. */
struct mg_fsst__encoder *mg_fsst__train(const struct mg_slice *texts, uint32_t count, struct mg_arena *arena);
const struct mg_fsst__table *mg_fsst__table_of(const struct mg_fsst__encoder *encoder);
/* Codes of a text; out has room for twice its bytes. */
size_t mg_fsst__encode(const struct mg_fsst__encoder *encoder, const uint8_t *text, size_t size, uint8_t *out);

#endif
