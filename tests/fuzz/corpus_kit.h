/* corpus_kit.h -- what the programs that make corpora share: calls that must succeed, and files.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_FUZZ_CORPUS_KIT_H
#define MG_FUZZ_CORPUS_KIT_H

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/error.h"

#define must(call)                                                                          \
    do {                                                                                    \
        struct mg_error must_err = MG_ERROR_INIT, *err = &must_err;                         \
        enum mg_code must_code = (call);                                                    \
        if (must_code != MG_OK) {                                                           \
            fprintf(stderr, "%s: %s: %s\n", #call, mg_code_name(must_code), must_err.text); \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

/* One input: head, then body; either may be empty. */
static inline void corpus_write(const char *folder, const char *name, struct mg_slice head, struct mg_slice body)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || (head.size && fwrite(head.data, 1, head.size, file) != head.size) ||
        (body.size && fwrite(body.data, 1, body.size, file) != body.size) || fclose(file) != 0) {
        fprintf(stderr, "could not write %s\n", path);
        exit(1);
    }
}

#endif
