/* model_order.c -- ordered rows of the oracle: all rows sorted by comparing their values, the first ones copied.
 * Threads  a call's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/model/model_order.h"

#include <stdlib.h>

enum { RESULT_BYTES_MAX = INT32_MAX };

struct place {
    const struct mg_batch *batch;
    uint32_t row;
};

static struct mg_value value_to_compare(const struct mg_top_order *order, const struct mg_vector *v, uint32_t row)
{
    struct mg_value value = mg_vector_value(v, row);

    if (value.is_null || value.type.id != MG_TYPE_UTF8 || value.type.collation != MG_COLLATION_PAD_SPACE ||
        order->is_bytewise)
        return value;
    while (value.text.size && value.text.data[value.text.size - 1] == ' ')
        value.text.size--;
    return value;
}

static int compare(const void *a, const void *b, void *arg)
{
    const struct mg_scan_spec *spec = arg;
    const struct place *x = a, *y = b;

    for (uint32_t i = 0; i < spec->order_count; i++) {
        const struct mg_top_order *order = &spec->order[i];
        struct mg_value left = value_to_compare(order, &x->batch->vectors[order->column], x->row);
        struct mg_value right = value_to_compare(order, &y->batch->vectors[order->column], y->row);
        if (left.is_null || right.is_null) {
            if (left.is_null != right.is_null)
                return left.is_null == order->nulls_last ? 1 : -1;
            continue;
        }
        int c = mg_value_compare(&left, &right);
        if (c)
            return order->is_descending ? -c : c;
    }
    return 0;
}

static enum mg_code copy(const struct mg_scan_spec *spec, const struct place *places, uint32_t count,
                         struct mg_budget *budget, struct mg_batch **out, struct mg_error *err)
{
    struct mg_type *types = calloc((size_t)spec->column_count + 1, sizeof *types);
    struct mg_batch_builder builder;

    mg_assert(types);
    for (uint32_t c = 0; c < spec->column_count; c++)
        types[c] = places[0].batch->vectors[spec->columns[c]].type;
    enum mg_code code = mg_batch_builder_init(&builder, types, spec->column_count, budget, RESULT_BYTES_MAX, err);
    free(types);
    MG_TRY(code);
    for (uint32_t c = 0; c < spec->column_count; c++)
        for (uint32_t i = 0; code == MG_OK && i < count; i++) {
            struct mg_value v = mg_vector_value(&places[i].batch->vectors[spec->columns[c]], places[i].row);
            code = v.is_null ? mg_builder_null(&builder, c, err) : mg_builder_value(&builder, c, &v, err);
        }
    if (code == MG_OK)
        code = mg_batch_builder_finish(&builder, count, out, err);
    mg_batch_builder_clear(&builder);
    return code;
}

enum mg_code mg_model__order(const struct mg_scan_spec *spec, struct mg_batch *const *batches, size_t batch_count,
                             struct mg_budget *budget, struct mg_batch **out, struct mg_error *err)
{
    size_t count = 0, at = 0;

    *out = NULL;
    for (size_t b = 0; b < batch_count; b++)
        count += batches[b]->row_count;
    if (count == 0)
        return MG_OK;
    struct place *places = calloc(count, sizeof *places);
    mg_assert(places);
    for (size_t b = 0; b < batch_count; b++)
        for (uint32_t row = 0; row < batches[b]->row_count; row++)
            places[at++] = (struct place){batches[b], row};
    qsort_r(places, count, sizeof *places, compare, (void *)(uintptr_t)spec);
    enum mg_code code = copy(spec, places, (uint32_t)MG_MIN((uint64_t)count, spec->limit), budget, out, err);
    free(places);
    return code;
}
