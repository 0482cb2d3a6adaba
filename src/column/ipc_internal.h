/* ipc_internal.h -- the numbers of Arrow's Message.fbs and Schema.fbs that encoder and decoder share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_COLUMN_IPC_INTERNAL_H
#define MG_COLUMN_IPC_INTERNAL_H

#include <stdint.h>

#define MG_IPC_CONTINUATION UINT32_C(0xffffffff)
#define MG_IPC_SOURCE_TYPE_KEY "magic.source_type"

enum {
    MG_IPC_PREFIX = 8,         /* continuation and length before an encapsulated message */
    MG_IPC_TEXT_MAX = 1 << 20, /* bytes of a name or source type */
    MG_IPC_VERSION_V5 = 4,
    MG_IPC_VERSION_V4 = 3, /* since Arrow 0.8; the same layout for the types that are read */
    MG_IPC_LITTLE_ENDIAN = 0,
};

/* union MessageHeader */
enum mg_ipc_header {
    MG_IPC_SCHEMA = 1,
    MG_IPC_DICTIONARY_BATCH = 2,
    MG_IPC_RECORD_BATCH = 3,
};

/* union Type */
enum mg_arrow_type {
    MG_ARROW_INT = 2,
    MG_ARROW_FLOATING_POINT = 3,
    MG_ARROW_UTF8 = 5,
    MG_ARROW_DECIMAL = 7,
    MG_ARROW_DATE = 8,
    MG_ARROW_TIMESTAMP = 10,
    MG_ARROW_TYPE_LAST = 26, /* LargeListView */
};

enum {
    MG_ARROW_PRECISION_SINGLE = 1,
    MG_ARROW_PRECISION_DOUBLE = 2,
    MG_ARROW_DATE_DAY = 0,
    MG_ARROW_UNIT_MICROSECOND = 2,
};

#endif
