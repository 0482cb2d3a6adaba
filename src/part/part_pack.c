/* part_pack.c -- blocks that are packed on their way to the file, and what they were again when they come into memory.
 *
 * Packing is for the disk alone: in the cache, and to all who read it, a block is what the encoder made. zstd finds
 * what the encoder, which must be reachable row by row, leaves: symbols that follow one another, in texts above all.
 * Kept     only when a block gets smaller by a fifth: what gains less is not worth the time of a read. A fast first try
 *          says which blocks are worth the slow one.
 * Memory   the packer's, reserved before it is taken, MG_PART__PACKER_BYTES and the packed block; when there is none,
 *          blocks stay as they are. WINDOW_LOG bounds what zstd takes however long a block's texts are; if another
 *          version of it takes more, that is reserved once it is known.
 * Errors   unpacking: MG_CORRUPT without a place, MG_NO_MEMORY.
 * Threads  a packer belongs to one thread; unpacking is pure.
 * Format   docs/format/part.md, "Footer".
 * SPDX-License-Identifier: Apache-2.0 */
#include <zstd.h>

#include "part/part_internal.h"

enum {
    TRY_LEVEL = 3,
    WINDOW_LOG = 20,
    BYTES_MIN = 1024, /* of a block */
    TRY_SHARE = 10,   /* the first try must save one part in so many, */
    KEEP_SHARE = 5,   /* and the second */
};

void mg_part__packer_init(struct mg_part__packer *packer, struct mg_budget *budget, int level)
{
    *packer = (struct mg_part__packer){.budget = budget, .level = level};
    mg_buffer_init(&packer->packed, SIZE_MAX / 4);
}

void mg_part__packer_clear(struct mg_part__packer *packer)
{
    mg_budget_release(packer->budget, packer->reserved_bytes);
    packer->reserved_bytes = 0;
    ZSTD_freeCCtx(packer->context);
    packer->context = NULL;
    mg_part__buffer_clear(packer->budget, &packer->packed);
}

/* So many bytes in all are reserved; false: there are not as many. */
static bool reserve(struct mg_part__packer *packer, size_t bytes)
{
    if (bytes <= packer->reserved_bytes)
        return true;
    if (mg_budget_reserve(packer->budget, bytes - packer->reserved_bytes, NULL) != MG_OK)
        return false;
    packer->reserved_bytes = bytes;
    return true;
}

static bool make_context(struct mg_part__packer *packer)
{
    if (!packer->context && reserve(packer, MG_PART__PACKER_BYTES))
        packer->context = ZSTD_createCCtx();
    return packer->context != NULL;
}

/* Into packer->packed; false: it does not get smaller by one part in `share`. */
static bool pack_at(struct mg_part__packer *packer, struct mg_slice plain, int level, size_t share)
{
    struct mg_buffer *packed = &packer->packed;
    size_t room = plain.size - plain.size / share;

    ZSTD_CCtx_reset(packer->context, ZSTD_reset_session_and_parameters);
    ZSTD_CCtx_setParameter(packer->context, ZSTD_c_compressionLevel, level);
    ZSTD_CCtx_setParameter(packer->context, ZSTD_c_windowLog, WINDOW_LOG);
    size_t size = ZSTD_compress2(packer->context, packed->data, room, plain.data, plain.size);
    if (ZSTD_isError(size) || !reserve(packer, ZSTD_sizeof_CCtx(packer->context)))
        return false; /* as a rule: it does not get so small */
    packed->size = size;
    return true;
}

bool mg_part__pack(struct mg_part__packer *packer, struct mg_slice plain)
{
    mg_buffer_reset(&packer->packed);
    if (packer->level == 0 || plain.size < BYTES_MIN || plain.size > UINT32_MAX || !make_context(packer) ||
        mg_part__buffer_grow(packer->budget, &packer->packed, plain.size + MG_PART__ALIGNMENT, NULL) != MG_OK)
        return false;
    return pack_at(packer, plain, TRY_LEVEL, TRY_SHARE) && pack_at(packer, plain, packer->level, KEEP_SHARE);
}

enum mg_code mg_part__unpack(struct mg_slice packed, uint8_t *to, size_t size, struct mg_error *err)
{
    if (ZSTD_getFrameContentSize(packed.data, packed.size) != size)
        return mg_fail(err, MG_CORRUPT, "a packed block does not say that it has %zu bytes", size);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    if (!context)
        return mg_fail(err, MG_NO_MEMORY, "no memory to unpack a block of %zu bytes", size);
    size_t done = ZSTD_decompressDCtx(context, to, size, packed.data, packed.size);
    ZSTD_freeDCtx(context);
    if (ZSTD_isError(done) || done != size)
        return mg_fail(err, MG_CORRUPT, "%zu packed bytes are not a block of %zu: %s", packed.size, size,
                       ZSTD_isError(done) ? ZSTD_getErrorName(done) : "another size");
    return MG_OK;
}
