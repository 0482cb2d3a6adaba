/* error.h -- result codes, the story of a failure, and the idiom that carries both.
 *
 * Every fallible function returns enum mg_code and takes a caller-owned struct mg_error as its last argument, which
 * may be NULL. Outputs are written on success only. Rooms return errors; only programs print or log them.
 * Threads  a struct mg_error belongs to one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_ERROR_H
#define MG_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

enum mg_code {
#define MG_X(name, number, grpc_status, retryable, sentence) MG_##name = number,
#include "base/codes.def"
#undef MG_X
};

enum { MG_ERROR_TEXT_MAX = 512 };

/* The code and the text of the first failure, with what callers put in front of it. Plain memory; nothing to free.
 * Start with MG_ERROR_INIT. */
struct mg_error {
    enum mg_code code;
    char text[MG_ERROR_TEXT_MAX]; /* UTF-8, cut at the limit, always terminated */
};

#define MG_ERROR_INIT ((struct mg_error){.code = MG_OK})
#define MG_MUST_CHECK __attribute__((warn_unused_result))

/* Set code and text; returns code, so that "return mg_fail(...)" reads well. Wording: what failed, then the facts,
 * then what to try; values in it; no function names. err may be NULL. */
enum mg_code mg_fail(struct mg_error *err, enum mg_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "context: " in front of the text that is there. Keeps and returns err->code (code when err is NULL). */
enum mg_code mg_fail_in(struct mg_error *err, enum mg_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* MG_IO or MG_NO_SPACE from errno, with strerror's text behind the given one. */
enum mg_code mg_fail_errno(struct mg_error *err, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* MG_CORRUPT naming file and byte offset; `check` is the place that saw it (use mg_corrupt). One function, so that
 * one breakpoint catches every damaged file. */
enum mg_code mg_corrupt_at(struct mg_error *err, const char *check, const char *file, long long offset,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
#define MG_STRING2(x) #x
#define MG_STRING(x) MG_STRING2(x)
#define mg_corrupt(err, file, offset, ...) \
    mg_corrupt_at(err, __FILE__ ":" MG_STRING(__LINE__), file, offset, __VA_ARGS__)

/* The four above never give MG_OK; saying so keeps compilers from warning that outputs stay unset on success. */
static inline enum mg_code mg_not_ok(enum mg_code code)
{
    if (code == MG_OK)
        __builtin_unreachable();
    return code;
}
#define mg_fail(...) mg_not_ok(mg_fail(__VA_ARGS__))
#define mg_fail_in(...) mg_not_ok(mg_fail_in(__VA_ARGS__))
#define mg_fail_errno(...) mg_not_ok(mg_fail_errno(__VA_ARGS__))
#define mg_corrupt_at(...) mg_not_ok(mg_corrupt_at(__VA_ARGS__))

const char *mg_code_name(enum mg_code code);     /* "SNAPSHOT_EXPIRED"; "?" for a number that is none */
const char *mg_code_sentence(enum mg_code code); /* what it means, a static string */
int mg_code_grpc_status(enum mg_code code);
bool mg_code_retryable(enum mg_code code);
/* The code with that name, or MG_INTERNAL. */
enum mg_code mg_code_from_name(const char *name);

/* Return the code of a failing call from the calling function. */
#define MG_TRY(call)                        \
    do {                                    \
        enum mg_code mg_try_code_ = (call); \
        if (mg_try_code_ != MG_OK)          \
            return mg_try_code_;            \
    } while (0)

/* Run free_function(&variable) when the variable goes out of scope. */
#define MG_CLEANUP(free_function) __attribute__((cleanup(free_function)))
/* Hand a pointer over: its value, and the variable becomes NULL. */
#define MG_TAKE(pointer)                         \
    ({                                           \
        __typeof__(pointer) mg_taken_ = pointer; \
        (pointer) = NULL;                        \
        mg_taken_;                               \
    })

/* Our own mistakes: always on, cheap, ends the process with file and line. Never for what the world can cause. */
#define mg_assert(condition) ((condition) ? (void)0 : mg_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void mg_assert_failed(const char *condition, const char *file, int line);

/* free() for MG_CLEANUP on any pointer type: MG_CLEANUP(mg_freep) char *text = NULL; */
void mg_freep(void *pointer_to_pointer);

#define MG_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MG_MIN(a, b) ((a) < (b) ? (a) : (b))
#define MG_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
