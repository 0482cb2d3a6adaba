/* lexer.h -- SQL text to tokens. For this room only.
 *
 * Words are bare or `quoted`; strings are 'quoted' or "quoted" with MySQL's escapes and doubled quotes, their text is
 * already unescaped into the arena; comments (-- to the end of the line, #, slash-star) are skipped.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_QUERY_LEXER_H
#define MG_QUERY_LEXER_H

#include "base/arena.h"

enum mg_token_kind {
    MG_TOKEN_END,
    MG_TOKEN_WORD, /* bare: a keyword or a name */
    MG_TOKEN_NAME, /* `quoted`: always a name */
    MG_TOKEN_STRING,
    MG_TOKEN_NUMBER, /* digits, perhaps with a point or an exponent */
    MG_TOKEN_HEX,    /* X'..' or 0x..: the bytes */
    MG_TOKEN_SYMBOL, /* text is the operator */
};

struct mg_token {
    enum mg_token_kind kind;
    struct mg_slice text;
    size_t at; /* byte offset in the statement */
};

struct mg_lexer {
    struct mg_slice text;
    size_t at;
    struct mg_arena *arena;
};

MG_MUST_CHECK enum mg_code mg_lexer__next(struct mg_lexer *lexer, struct mg_token *out, struct mg_error *err);
/* MG_INVALID or MG_UNIMPLEMENTED at a place: "line 1, column 8: ...". */
enum mg_code mg_lexer__fail(const struct mg_lexer *lexer, enum mg_code code, size_t at, struct mg_error *err,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
