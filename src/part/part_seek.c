/* part_seek.c -- the row of one number in an encoded vector of rising integers, without decoding the vector.
 *
 * FRAME    binary search over packed numbers, each brought out alone.
 * DELTA    distances are unpacked into their lanes and summed a STRIDE of rows at a time; only the stride that passes
 *          the number is walked through.
 * Decoding all 1,024 rows costs about three times as much; it pays when several numbers are looked for in one vector.
 * Trust    the block's headers were checked; data that does not rise gives another row or none.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/block_internal.h"
#include "part/part_internal.h"

enum { STRIDE = 128 };

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

/* Walks rows [first, end) whose predecessors sum up to `sum`. */
static uint32_t walk(const uint8_t *lanes, uint32_t lane_bytes, struct leaps leaps, uint32_t first, uint32_t end,
                     uint64_t sum, uint64_t step, uint64_t distance)
{
    for (uint32_t row = first; row < end; row++) {
        sum += mg_pack__lane(lanes + (size_t)row * lane_bytes, lane_bytes);
        if (leaps.at < leaps.count)
            sum += pass_leaps(&leaps, row + 1);
        if (sum + row * step >= distance)
            return sum + row * step == distance ? row : MG_PART_NO_ROW;
    }
    return MG_PART_NO_ROW;
}

static uint32_t seek_delta(const struct mg_block__view *view, uint64_t distance)
{
    const struct mg_block__delta *head = (const void *)view->data;
    const uint8_t *packed = view->data + sizeof *head;
    struct leaps leaps = leaps_of(view, head, packed);
    struct mg_block__lanes lanes;
    uint32_t log = mg_block__unpack(packed, view->width, view->rows, &lanes);
    uint64_t sum = 0;

    for (uint32_t first = 0; first < view->rows; first += STRIDE) {
        uint32_t end = MG_MIN(first + STRIDE, view->rows);
        struct leaps before = leaps;
        uint64_t after = sum +
                         (uint64_t)mg_block__kernels()->sum[log](lanes.bytes + ((size_t)first << log), end - first);
        after += pass_leaps(&leaps, end);
        if (after + (end - 1) * head->step >= distance)
            return walk(lanes.bytes, 1u << log, before, first, end, sum, head->step, distance);
        sum = after;
    }
    return MG_PART_NO_ROW;
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
