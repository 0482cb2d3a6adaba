/* error.c -- turns failures into code and text, and looks codes up by number and name.
 * Threads  no shared state.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct code_info {
    enum mg_code code;
    const char *name;
    int grpc_status;
    bool retryable;
    const char *sentence;
} codes[] = {
#define MG_X(name, number, grpc_status, retryable, sentence) {MG_##name, #name, grpc_status, retryable, sentence},
#include "base/codes.def"
#undef MG_X
};

static const struct code_info *find_code(enum mg_code code)
{
    for (size_t i = 0; i < MG_COUNT_OF(codes); i++)
        if (codes[i].code == code)
            return &codes[i];
    return NULL;
}

const char *mg_code_name(enum mg_code code)
{
    const struct code_info *info = find_code(code);
    return info ? info->name : "?";
}

const char *mg_code_sentence(enum mg_code code)
{
    const struct code_info *info = find_code(code);
    return info ? info->sentence : "an unknown error";
}

int mg_code_grpc_status(enum mg_code code)
{
    const struct code_info *info = find_code(code);
    return info ? info->grpc_status : mg_code_grpc_status(MG_INTERNAL);
}

bool mg_code_retryable(enum mg_code code)
{
    const struct code_info *info = find_code(code);
    return info && info->retryable;
}

enum mg_code mg_code_from_name(const char *name)
{
    for (size_t i = 0; name && i < MG_COUNT_OF(codes); i++)
        if (strcmp(codes[i].name, name) == 0)
            return codes[i].code;
    return MG_INTERNAL;
}

/* Take over a formatted text of `length` bytes, of which `text` holds at most MG_ERROR_TEXT_MAX - 1. A cut never
 * leaves half a UTF-8 sequence. */
static void set_text(struct mg_error *err, const char *text, int length)
{
    size_t size = length < 0 ? 0 : (size_t)length;
    if (size >= MG_ERROR_TEXT_MAX) {
        size = MG_ERROR_TEXT_MAX - 1;
        size_t start = size; /* of the last sequence */
        while (start > 0 && size - start < 4 && ((uint8_t)text[start - 1] & 0xc0) == 0x80)
            start--;
        if (start > 0 && (uint8_t)text[start - 1] >= 0xc0) {
            uint8_t lead = (uint8_t)text[start - 1];
            size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
            if (size - (start - 1) < need)
                size = start - 1;
        }
    }
    memcpy(err->text, text, size);
    err->text[size] = '\0';
}

/* Arguments may point into err->text, hence the copy on the stack. */
__attribute__((format(printf, 2, 0))) static void set_formatted(struct mg_error *err, const char *format, va_list args)
{
    char text[MG_ERROR_TEXT_MAX];
    set_text(err, text, vsnprintf(text, sizeof text, format, args));
}

enum mg_code(mg_fail)(struct mg_error *err, enum mg_code code, const char *format, ...)
{
    mg_assert(code != MG_OK);
    if (err) {
        va_list args;
        va_start(args, format);
        set_formatted(err, format, args);
        va_end(args);
        err->code = code;
    }
    return code;
}

enum mg_code(mg_fail_in)(struct mg_error *err, enum mg_code code, const char *format, ...)
{
    mg_assert(code != MG_OK);
    if (!err)
        return code;
    if (err->code == MG_OK)
        err->code = code;
    char context[MG_ERROR_TEXT_MAX], text[MG_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    set_text(err, text, snprintf(text, sizeof text, "%s: %s", context, err->text));
    return err->code;
}

enum mg_code(mg_fail_errno)(struct mg_error *err, int error_number, const char *format, ...)
{
    enum mg_code code = error_number == ENOSPC || error_number == EDQUOT ? MG_NO_SPACE : MG_IO;
    if (err) {
        char context[MG_ERROR_TEXT_MAX], text[MG_ERROR_TEXT_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(context, sizeof context, format, args);
        va_end(args);
        const char *reason = strerrordesc_np(error_number);
        set_text(err, text, snprintf(text, sizeof text, "%s: %s", context, reason ? reason : "unknown error"));
        err->code = code;
    }
    return code;
}

enum mg_code(mg_corrupt_at)(struct mg_error *err, const char *check, const char *file, long long offset,
                            const char *format, ...)
{
    if (err) {
        char what[MG_ERROR_TEXT_MAX], text[MG_ERROR_TEXT_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
        while (strncmp(check, "../", 3) == 0) /* a compiler cache may name files from the build folder */
            check += 3;
        set_text(err, text,
                 snprintf(text, sizeof text, "%s is damaged at byte %lld: %s (seen by %s)", file, offset, what, check));
        err->code = MG_CORRUPT;
    }
    return MG_CORRUPT;
}

void mg_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: a bug in Magic: not true: %s\n", file, line, condition);
    abort();
}

void mg_freep(void *pointer_to_pointer)
{
    void *pointer;
    memcpy(&pointer, pointer_to_pointer, sizeof pointer);
    free(pointer);
}
