/* name.h -- how engines compare the names of databases and tables: bytes, ASCII letters without case.
 *
 * Source   MySQL with lower_case_table_names=2, which is how TiDB compares.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_NAME_H
#define MG_ENGINE_NAME_H

#include "base/bytes.h"

static inline uint8_t mg_name_fold(uint8_t c) { return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c; }

/* As memcmp orders the names in small letters, a prefix before what it is a prefix of. */
static inline int mg_name_compare(struct mg_slice a, struct mg_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    for (size_t i = 0; i < n; i++) {
        int d = (int)mg_name_fold(a.data[i]) - (int)mg_name_fold(b.data[i]);
        if (d)
            return d;
    }
    return (a.size > b.size) - (a.size < b.size);
}

#endif
