/* lexer.c -- SQL text to tokens, byte by byte.
 *
 * Input   a statement of any bytes; those above 7F count as letters of a word.
 * Errors  MG_INVALID with line and column for what is never closed or never begins a token.
 * Source  MySQL's rules for string escapes and comments; a NUL byte is refused.
 * Threads pure functions over the caller's arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "query/sql/lexer.h"

#include <stdarg.h>
#include <stdio.h>

enum mg_code mg_lexer__fail(const struct mg_lexer *lexer, enum mg_code code, size_t at, struct mg_error *err,
                            const char *format, ...)
{
    char text[MG_ERROR_TEXT_MAX];
    size_t line = 1, column = 1;
    va_list arguments;

    for (size_t i = 0; i < at && i < lexer->text.size; i++) {
        uint8_t c = lexer->text.data[i];
        if (c == '\n') {
            line++;
            column = 1;
        } else if ((c & 0xc0) != 0x80) { /* a character, not a byte within one */
            column++;
        }
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return mg_fail(err, code, "line %zu, column %zu: %s", line, column, text);
}

/* The byte at place at + ahead, 0 beyond the end. */
static uint8_t peek(const struct mg_lexer *lexer, size_t ahead)
{
    return lexer->at + ahead < lexer->text.size ? lexer->text.data[lexer->at + ahead] : 0;
}

static bool is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '$' || c >= 0x80;
}
static int hex_digit(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void skip_line(struct mg_lexer *lexer)
{
    while (lexer->at < lexer->text.size && lexer->text.data[lexer->at] != '\n')
        lexer->at++;
}

static enum mg_code skip_blanks(struct mg_lexer *lexer, struct mg_error *err)
{
    for (;;) {
        uint8_t c = peek(lexer, 0);
        if (lexer->at >= lexer->text.size)
            return MG_OK;
        if (is_blank(c)) {
            lexer->at++;
        } else if (c == '#' || (c == '-' && peek(lexer, 1) == '-' &&
                                (is_blank(peek(lexer, 2)) || lexer->at + 2 >= lexer->text.size))) {
            skip_line(lexer);
        } else if (c == '/' && peek(lexer, 1) == '*') {
            size_t begin = lexer->at;
            lexer->at += 2;
            if (peek(lexer, 0) == '!' || peek(lexer, 0) == '+') /* MySQL would execute it */
                return mg_lexer__fail(lexer, MG_UNIMPLEMENTED, begin, err, "this version's SQL has no /*! and /*+");
            while (lexer->at < lexer->text.size && !(peek(lexer, 0) == '*' && peek(lexer, 1) == '/'))
                lexer->at++;
            if (lexer->at >= lexer->text.size)
                return mg_lexer__fail(lexer, MG_INVALID, begin, err, "a comment that is never closed");
            lexer->at += 2;
        } else {
            return MG_OK;
        }
    }
}

/* What stands behind a backslash; %, _ keep theirs, as in MySQL. */
static size_t unescape(uint8_t c, uint8_t *to)
{
    switch (c) {
    case '0': *to = 0; return 1;
    case 'b': *to = '\b'; return 1;
    case 'n': *to = '\n'; return 1;
    case 'r': *to = '\r'; return 1;
    case 't': *to = '\t'; return 1;
    case 'Z': *to = 26; return 1;
    case '%':
    case '_':
        to[0] = '\\';
        to[1] = c;
        return 2;
    default: *to = c; return 1;
    }
}

/* Bytes from the opening quote to behind the closing one; 0 when there is none. */
static size_t quoted_size(const struct mg_lexer *lexer, bool escapes)
{
    uint8_t quote = lexer->text.data[lexer->at];

    for (size_t at = lexer->at + 1; at < lexer->text.size; at++) {
        uint8_t c = lexer->text.data[at];
        if (c == '\\' && escapes)
            at++;
        else if (c == quote && at + 1 < lexer->text.size && lexer->text.data[at + 1] == quote)
            at++;
        else if (c == quote)
            return at + 1 - lexer->at;
    }
    return 0;
}

/* A quoted text from its opening quote on; a doubled quote stands for one. */
static enum mg_code quoted(struct mg_lexer *lexer, bool escapes, struct mg_slice *out, struct mg_error *err)
{
    size_t begin = lexer->at, quoted_bytes = quoted_size(lexer, escapes), size = 0;
    uint8_t quote = lexer->text.data[begin];

    if (!quoted_bytes)
        return mg_lexer__fail(lexer, MG_INVALID, begin, err, "a quote %c that is never closed", quote);
    uint8_t *text = mg_arena_alloc(lexer->arena, quoted_bytes);
    if (!text)
        return mg_arena_fail(lexer->arena, err);
    lexer->at = begin + quoted_bytes;
    for (size_t at = begin + 1; at < lexer->at - 1; at++) {
        uint8_t c = lexer->text.data[at];
        if (c == '\\' && escapes)
            size += unescape(lexer->text.data[++at], text + size);
        else if (c == quote)
            text[size++] = lexer->text.data[++at];
        else
            text[size++] = c;
    }
    *out = MG_SLICE(text, size);
    return MG_OK;
}

static enum mg_code hex(struct mg_lexer *lexer, size_t begin, size_t end, struct mg_slice *out, struct mg_error *err)
{
    size_t digits = end - begin;
    uint8_t *bytes = mg_arena_alloc(lexer->arena, digits / 2 + 1);

    if (!bytes)
        return mg_arena_fail(lexer->arena, err);
    if (digits == 0 || digits % 2)
        return mg_lexer__fail(lexer, MG_INVALID, begin, err, "%zu hexadecimal digits: an even number is needed",
                              digits);
    for (size_t i = 0; i < digits; i += 2) {
        int high = hex_digit(lexer->text.data[begin + i]), low = hex_digit(lexer->text.data[begin + i + 1]);
        if (high < 0 || low < 0)
            return mg_lexer__fail(lexer, MG_INVALID, begin + i, err, "not a hexadecimal digit");
        bytes[i / 2] = (uint8_t)(high << 4 | low);
    }
    *out = MG_SLICE(bytes, digits / 2);
    return MG_OK;
}

static enum mg_code number(struct mg_lexer *lexer, struct mg_token *out, struct mg_error *err)
{
    size_t begin = lexer->at;

    if (peek(lexer, 0) == '0' && peek(lexer, 1) == 'x') {
        lexer->at += 2;
        while (is_word(peek(lexer, 0)))
            lexer->at++;
        out->kind = MG_TOKEN_HEX;
        return hex(lexer, begin + 2, lexer->at, &out->text, err);
    }
    while (is_digit(peek(lexer, 0)))
        lexer->at++;
    if (peek(lexer, 0) == '.')
        for (lexer->at++; is_digit(peek(lexer, 0));)
            lexer->at++;
    if ((peek(lexer, 0) | 0x20) == 'e') {
        size_t sign = peek(lexer, 1) == '+' || peek(lexer, 1) == '-';
        if (is_digit(peek(lexer, 1 + sign)))
            for (lexer->at += 1 + sign; is_digit(peek(lexer, 0));)
                lexer->at++;
    }
    if (is_word(peek(lexer, 0)))
        return mg_lexer__fail(lexer, MG_INVALID, begin, err, "a number that goes on with a letter");
    out->kind = MG_TOKEN_NUMBER;
    out->text = MG_SLICE(lexer->text.data + begin, lexer->at - begin);
    return MG_OK;
}

static enum mg_code symbol(struct mg_lexer *lexer, struct mg_token *out, struct mg_error *err)
{
    static const char *const longest_first[] = {"<=>", "<=", ">=", "<>", "!=", "&&", "||", "<", ">", "=", "!",
                                                "(",   ")",  ",",  ".",  ";",  "*",  "-",  "+", "/", "%"};
    size_t left = lexer->text.size - lexer->at;

    for (size_t i = 0; i < MG_COUNT_OF(longest_first); i++) {
        size_t size = strlen(longest_first[i]);
        if (size <= left && memcmp(lexer->text.data + lexer->at, longest_first[i], size) == 0) {
            out->kind = MG_TOKEN_SYMBOL;
            out->text = MG_SLICE(longest_first[i], size);
            lexer->at += size;
            return MG_OK;
        }
    }
    return mg_lexer__fail(lexer, MG_INVALID, lexer->at, err, "no SQL begins with the byte %02X",
                          lexer->text.data[lexer->at]);
}

static enum mg_code word(struct mg_lexer *lexer, struct mg_token *out)
{
    size_t begin = lexer->at;

    while (is_word(peek(lexer, 0)))
        lexer->at++;
    out->kind = MG_TOKEN_WORD;
    out->text = MG_SLICE(lexer->text.data + begin, lexer->at - begin);
    return MG_OK;
}

enum mg_code mg_lexer__next(struct mg_lexer *lexer, struct mg_token *out, struct mg_error *err)
{
    MG_TRY(skip_blanks(lexer, err));
    *out = (struct mg_token){.kind = MG_TOKEN_END, .at = lexer->at};
    if (lexer->at >= lexer->text.size)
        return MG_OK;
    uint8_t c = peek(lexer, 0);
    if (c == '\'' || c == '"') {
        out->kind = MG_TOKEN_STRING;
        return quoted(lexer, true, &out->text, err);
    }
    if (c == '`') {
        out->kind = MG_TOKEN_NAME;
        return quoted(lexer, false, &out->text, err);
    }
    if ((c | 0x20) == 'x' && peek(lexer, 1) == '\'') {
        size_t begin = lexer->at + 2;
        for (lexer->at = begin; hex_digit(peek(lexer, 0)) >= 0;)
            lexer->at++;
        if (peek(lexer, 0) != '\'')
            return mg_lexer__fail(lexer, MG_INVALID, lexer->at, err, "X'..' holds hexadecimal digits only");
        out->kind = MG_TOKEN_HEX;
        MG_TRY(hex(lexer, begin, lexer->at++, &out->text, err));
        return MG_OK;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(lexer, 1))))
        return number(lexer, out, err);
    if (is_word(c))
        return word(lexer, out);
    return symbol(lexer, out, err);
}
