/* sketch.c -- HyperLogLog with 4,096 registers: the upper 12 bits of a value's hash choose one, which keeps the longest
 * run of leading zeros that the other 52 had, plus one.
 *
 * Equal values have equal hashes whatever part they are in: -0.0 is 0.0, every NaN is the same, PAD_SPACE texts have no
 * trailing blanks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/sketch.h"

#include <math.h>

#include "base/hash.h"

enum { INDEX_BITS = 12, RANK_MAX = 64 - INDEX_BITS + 1 };
_Static_assert(MG_SKETCH_REGISTERS == 1 << INDEX_BITS, "a register for every index");

static uint64_t hash_u64(uint64_t v) { return mg_hash_u64(v + UINT64_C(0x9e3779b97f4a7c15)); }

static uint64_t hash_float(double v)
{
    uint64_t bits;

    v = v != v ? (double)NAN : v + 0.0;
    memcpy(&bits, &v, sizeof bits);
    return hash_u64(bits);
}

static uint64_t hash_text(struct mg_type type, struct mg_slice text)
{
    while (type.collation == MG_COLLATION_PAD_SPACE && text.size && text.data[text.size - 1] == ' ')
        text.size--;
    return mg_hash(text.data, text.size, 0);
}

static uint64_t hash_value(const struct mg_value *v)
{
    switch (v->type.id) {
    case MG_TYPE_FLOAT32:
    case MG_TYPE_FLOAT64: return hash_float(v->f);
    case MG_TYPE_DECIMAL: return hash_u64((uint64_t)v->d ^ hash_u64((uint64_t)((unsigned __int128)v->d >> 64)));
    case MG_TYPE_UTF8: return hash_text(v->type, v->text);
    default: return hash_u64(v->u);
    }
}

void mg_sketch_add(struct mg_sketch *sketch, const struct mg_vector *rows)
{
    for (uint32_t row = 0; row < rows->row_count; row++) {
        struct mg_value v = mg_vector_value(rows, row);
        if (v.is_null)
            continue;
        uint64_t hash = hash_value(&v), rest = hash << INDEX_BITS;
        uint8_t rank = (uint8_t)(rest ? __builtin_clzll(rest) + 1 : RANK_MAX);
        uint8_t *place = &sketch->registers[hash >> (64 - INDEX_BITS)];
        *place = MG_MAX(*place, rank);
    }
}

void mg_sketch_merge(struct mg_sketch *into, const struct mg_sketch *from)
{
    for (uint32_t i = 0; i < MG_SKETCH_REGISTERS; i++)
        into->registers[i] = MG_MAX(into->registers[i], from->registers[i]);
}

uint64_t mg_sketch_count(const struct mg_sketch *sketch)
{
    const double m = MG_SKETCH_REGISTERS, alpha = 0.7213 / (1 + 1.079 / m);
    double sum = 0, zeros = 0;

    for (uint32_t i = 0; i < MG_SKETCH_REGISTERS; i++) {
        sum += ldexp(1.0, -(int)MG_MIN(sketch->registers[i], (uint8_t)RANK_MAX));
        zeros += sketch->registers[i] == 0;
    }
    double count = alpha * m * m / sum;
    if (count <= 2.5 * m && zeros > 0)
        count = m * log(m / zeros);
    return (uint64_t)llround(count);
}
