/* part_seek.c -- the row of one number in an encoded vector of rising integers, without decoding the vector.
 *
 * FRAME    binary search over packed numbers, each brought out alone.
 * DELTA    distances are unpacked into their lanes and summed a STRIDE of rows at a time, then a SHORT_STRIDE; only the
 *          last of those is walked through.
 * Decoding all 1,024 rows costs about three times as much; it pays when several numbers are looked for in one vector.
 * Trust    the block's headers were checked; data that does not rise gives another row or none.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"
#include "part/part_internal.h"

enum { STRIDE = 128, SHORT_STRIDE = 16, FETCH_LINES = 16 };

/* Rows count from 0; MG_PART_NO_ROW when no row is `distance` above the base. */
static uint32_t seek_frame(const struct mg_block__view *view, uint64_t distance)
{
    uint32_t low = 0, high = view->rows;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (mg_pack__get(view->data, view->width, middle) < distance)
            low = middle + 1;
        else
            high = middle;
    }
    bool equal = low < view->rows && mg_pack__get(view->data, view->width, low) == distance;
    return equal ? low : MG_PART_NO_ROW;
}

/* Of DELTA: what the lanes do not hold. */
struct leaps {
    const uint16_t *rows; /* count of them, rising */
    const uint8_t *uppers;
    uint32_t count, bytes, width, at;
};

static struct leaps leaps_of(const struct mg_block__view *view, const struct mg_block__delta *head,
                             const uint8_t *packed)
{
    const uint8_t *rows = packed + mg_pack__bytes(view->rows, view->width);

    return (struct leaps){.rows = (const uint16_t *)(const void *)rows,
                          .uppers = rows + mg_pad8((uint64_t)head->exception_count * 2),
                          .count = head->exception_count,
                          .bytes = head->exception_bytes,
                          .width = view->width};
}

/* The sum of those in front of row `end`, from leaps->at on, which moves behind them. */
static uint64_t pass_leaps(struct leaps *leaps, uint32_t end)
{
    uint64_t sum = 0;

    for (; leaps->at < leaps->count && leaps->rows[leaps->at] < end; leaps->at++)
        sum += mg_pack__lane(leaps->uppers + (size_t)leaps->at * leaps->bytes, leaps->bytes) << leaps->width;
    return sum;
}

/* A vector's lanes, and how far it was walked. */
struct walk {
    const uint8_t *lanes;
    uint32_t log; /* of the bytes of a lane */
    uint64_t step, distance;
    uint32_t row;
    uint64_t sum; /* of the rows before, without steps */
    struct leaps leaps;
};

/* Passes whole strides, the last one cut at `end`, whose last rows are below the distance; false when none is left. */
static bool pass_strides(struct walk *walk, uint32_t stride, uint32_t end)
{
    while (walk->row < end) {
        uint32_t behind = MG_MIN(walk->row + stride, end);
        struct leaps leaps = walk->leaps;
        const uint8_t *lanes = walk->lanes + ((size_t)walk->row << walk->log);
        uint64_t sum = walk->sum + (uint64_t)mg_block__kernels()->sum[walk->log](lanes, behind - walk->row);
        if (leaps.at < leaps.count)
            sum += pass_leaps(&leaps, behind);
        if (sum + (behind - 1) * walk->step >= walk->distance)
            return true;
        walk->row = behind;
        walk->sum = sum;
        walk->leaps = leaps;
    }
    return false;
}

/* The next row that is not below the distance, of a stride that has one. */
static uint32_t pass_rows(struct walk *walk)
{
    for (uint64_t sum = walk->sum;; walk->row++) {
        sum += mg_pack__lane(walk->lanes + ((size_t)walk->row << walk->log), 1u << walk->log);
        if (walk->leaps.at < walk->leaps.count)
            sum += pass_leaps(&walk->leaps, walk->row + 1);
        uint64_t reached = sum + walk->row * walk->step;
        if (reached >= walk->distance)
            return reached == walk->distance ? walk->row : MG_PART_NO_ROW;
    }
}

static uint32_t seek_delta(const struct mg_block__view *view, uint64_t distance)
{
    const struct mg_block__delta *head = (const void *)view->data;
    const uint8_t *packed = view->data + sizeof *head;
    struct mg_block__lanes lanes;
    struct walk walk = {.lanes = lanes.bytes, .step = head->step, .distance = distance};

    walk.leaps = leaps_of(view, head, packed);
    walk.log = mg_block__unpack(packed, view->width, view->rows, &lanes);
    /* The short strides end where the long one does, with the same sum: one of them is the last. */
    if (pass_strides(&walk, STRIDE, view->rows) &&
        pass_strides(&walk, SHORT_STRIDE, MG_MIN(walk.row + STRIDE, view->rows)))
        return pass_rows(&walk);
    return MG_PART_NO_ROW;
}

void mg_part__seek_fetch(const struct mg_block *block, uint32_t vector)
{
    const struct mg_block_vector *header = &block->vectors[vector];
    const uint8_t *data = block->bytes.data + header->offset;
    uint32_t lines = (MG_VECTOR_ROWS / 8 * header->width) / 64 + 1;

    if (header->encoding != MG_ENCODING_DELTA)
        return;
    for (uint32_t i = 0; i < MG_MIN(lines, (uint32_t)FETCH_LINES); i++)
        __builtin_prefetch(data + (size_t)i * 64);
}

bool mg_part__seek(const struct mg_block *block, uint32_t vector, int64_t number, uint32_t *out_row)
{
    struct mg_block__view view = mg_block__view(block, vector);
    bool is_delta = view.header->encoding == MG_ENCODING_DELTA;
    int64_t base = (int64_t)view.header->base;

    if (!is_delta && view.header->encoding != MG_ENCODING_FRAME)
        return false;
    if (block->type.id == MG_TYPE_UINT64)
        base = (int64_t)((uint64_t)base ^ UINT64_C(1) << 63);
    uint64_t distance = (uint64_t)number - (uint64_t)base;
    *out_row = MG_PART_NO_ROW;
    if (number >= base) /* no row is below the base */
        *out_row = is_delta ? seek_delta(&view, distance) : seek_frame(&view, distance);
    return true;
}
