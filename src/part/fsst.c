/* fsst.c -- learning symbols from texts, and texts to codes and back.
 *
 * Learning: encode the sample with the table so far, count its symbols and which follow which; the next table has those
 * of them and of their joints that cover most bytes. Lengths double with each round, so that few rounds do.
 * Encoding takes the longest symbol that fits: those that begin with the same two bytes stand together, longest first.
 * Threads  pure functions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "part/fsst.h"

#include <stdlib.h>

enum {
    /* the first half of them looks at a quarter of the sample, which does to make symbols long */
    ROUNDS = 16,
    PAIRS_MIN = 5,          /* times that two units follow each other before they may be one */
    BUCKETS = 4096,         /* by the first two bytes */
    UNITS = 256 + 255,      /* while learning: bytes, then symbols */
    CANDIDATES_MAX = 16384, /* a power of two: the hash table of one round */
};

/* A symbol as two words, and the bits that count. */
struct symbol {
    uint64_t low, high, low_mask, high_mask;
    uint32_t size, code;
};

struct mg_fsst__encoder {
    uint8_t first[BUCKETS], count[BUCKETS]; /* symbols of two and more bytes */
    uint16_t single[256];                   /* code of the symbol of that one byte; 256: there is none */
    struct symbol symbols[MG_FSST__SYMBOLS];
    struct mg_fsst__table *table;
};

static uint32_t bucket_of(const uint8_t *at) { return (at[0] * 61u + at[1] * 7u) % BUCKETS; }
static uint64_t mask_of(uint32_t bytes) { return bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1; }

/* ---- decoding ------------------------------------------------------------------------------------------------ */

bool mg_fsst__table_check(struct mg_slice bytes)
{
    const struct mg_fsst__table *table = (const void *)bytes.data;

    if (bytes.size < sizeof *table || table->count > MG_FSST__SYMBOLS ||
        bytes.size < mg_fsst__table_bytes(table->count))
        return false;
    for (uint32_t i = 0; i < table->count; i++)
        if (table->lengths[i] < 1 || table->lengths[i] > MG_FSST__SYMBOL_MAX)
            return false;
    return true;
}

size_t mg_fsst__decode(const struct mg_fsst__table *table, const uint8_t *codes, size_t size, uint8_t *out, size_t room)
{
    const uint8_t *end = codes + size;
    uint8_t *at = out;
    bool ample = room / MG_FSST__SYMBOL_MAX >= size;

    while (codes < end) {
        uint32_t code = *codes++;
        if (code < table->count) {
            if (!ample && table->lengths[code] > room - (size_t)(at - out))
                return SIZE_MAX;
            memcpy(at, table->symbols[code], MG_FSST__SYMBOL_MAX);
            at += table->lengths[code];
        } else {
            if (code != MG_FSST__ESCAPE || codes == end || (!ample && (size_t)(at - out) == room))
                return SIZE_MAX;
            *at++ = *codes++;
        }
    }
    return (size_t)(at - out);
}

int mg_fsst__compare(const struct mg_fsst__table *table, const uint8_t *codes, size_t size, struct mg_slice text)
{
    const uint8_t *end = codes + size;

    while (codes < end) {
        uint32_t code = *codes++;
        struct mg_slice symbol = MG_SLICE(codes, codes < end);
        if (code < table->count)
            symbol = MG_SLICE(table->symbols[code], table->lengths[code]);
        else
            codes = codes < end ? codes + 1 : codes;
        size_t n = MG_MIN(symbol.size, text.size);
        int c = n ? memcmp(symbol.data, text.data, n) : 0;
        if (c || symbol.size > text.size)
            return c ? c : 1;
        text = MG_SLICE(text.data + n, text.size - n);
    }
    return text.size ? -1 : 0;
}

/* ---- encoding ------------------------------------------------------------------------------------------------ */

/* The code of the longest symbol at the beginning of a text of `left` bytes, which may be read 16 bytes on; its size.
 * 256 when there is none. */
static inline uint32_t match(const struct mg_fsst__encoder *encoder, const uint8_t *at, size_t left, uint32_t *size)
{
    if (left > 1) {
        uint64_t low = mg_load_le64(at), high = mg_load_le64(at + 8);
        uint32_t bucket = bucket_of(at);
        const struct symbol *symbol = &encoder->symbols[encoder->first[bucket]];
        for (uint32_t n = encoder->count[bucket]; n; n--, symbol++)
            if (((low ^ symbol->low) & symbol->low_mask) == 0 && ((high ^ symbol->high) & symbol->high_mask) == 0 &&
                symbol->size <= left) {
                *size = symbol->size;
                return symbol->code;
            }
    }
    *size = 1;
    return encoder->single[*at];
}

size_t mg_fsst__encode(const struct mg_fsst__encoder *encoder, const uint8_t *text, size_t size, uint8_t *out)
{
    uint8_t *at = out;
    uint32_t taken;

    for (; size; text += taken, size -= taken) {
        uint32_t code = match(encoder, text, size, &taken);
        if (code < 256) {
            *at++ = (uint8_t)code;
        } else {
            *at++ = MG_FSST__ESCAPE;
            *at++ = *text;
        }
    }
    return (size_t)(at - out);
}

const struct mg_fsst__table *mg_fsst__table_of(const struct mg_fsst__encoder *encoder) { return encoder->table; }

/* ---- learning ------------------------------------------------------------------------------------------------ */

struct candidate {
    uint8_t bytes[MG_FSST__SYMBOL_MAX]; /* zeros behind size */
    uint32_t size;                      /* 0: free */
    uint32_t gain;
};

struct learner {
    struct mg_fsst__encoder *encoder;
    uint32_t counts[UNITS];
    uint16_t pairs[UNITS][UNITS];
    struct candidate candidates[CANDIDATES_MAX];
    uint32_t candidate_count;
};

static int compare_gains(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->gain != y->gain)
        return x->gain < y->gain ? 1 : -1;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : memcmp(x->bytes, y->bytes, sizeof x->bytes);
}

/* By bucket, longer ones first; single bytes at the end. */
static int compare_symbols(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    uint32_t i = x->size == 1 ? BUCKETS : bucket_of(x->bytes), k = y->size == 1 ? BUCKETS : bucket_of(y->bytes);

    if (i != k)
        return i < k ? -1 : 1;
    return x->size != y->size ? (x->size < y->size ? 1 : -1) : memcmp(x->bytes, y->bytes, sizeof x->bytes);
}

static void set_symbols(struct mg_fsst__encoder *encoder, struct candidate *chosen, uint32_t count)
{
    struct mg_fsst__table *table = encoder->table;

    memset(encoder->count, 0, sizeof encoder->count);
    memset(table, 0, mg_fsst__table_bytes(MG_FSST__SYMBOLS));
    for (uint32_t i = 0; i < 256; i++)
        encoder->single[i] = 256;
    if (count)
        qsort(chosen, count, sizeof *chosen, compare_symbols);
    table->count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct candidate *from = &chosen[i];
        uint32_t bucket = bucket_of(from->bytes);
        encoder->symbols[i] = (struct symbol){.low = mg_load_le64(from->bytes),
                                              .high = mg_load_le64(from->bytes + 8),
                                              .low_mask = mask_of(from->size),
                                              .high_mask = from->size > 8 ? mask_of(from->size - 8) : 0,
                                              .size = from->size,
                                              .code = i};
        memcpy(table->symbols[i], from->bytes, MG_FSST__SYMBOL_MAX);
        table->lengths[i] = (uint8_t)from->size;
        if (from->size == 1)
            encoder->single[from->bytes[0]] = (uint16_t)i;
        else if (encoder->count[bucket]++ == 0)
            encoder->first[bucket] = (uint8_t)i;
    }
}

/* A unit's bytes: a byte, or a symbol of the table. */
static struct mg_slice unit_bytes(const struct learner *learner, uint32_t unit, uint8_t room[1])
{
    const struct mg_fsst__table *table = learner->encoder->table;

    if (unit >= 256)
        return MG_SLICE(table->symbols[unit - 256], table->lengths[unit - 256]);
    room[0] = (uint8_t)unit;
    return MG_SLICE(room, 1);
}

static void count_units(struct learner *learner, const struct mg_slice *texts, uint32_t count)
{
    memset(learner->counts, 0, sizeof learner->counts);
    memset(learner->pairs, 0, sizeof learner->pairs);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t last = UNITS, taken;
        for (struct mg_slice text = texts[i]; text.size; text.data += taken, text.size -= taken) {
            uint32_t code = match(learner->encoder, text.data, text.size, &taken);
            uint32_t unit = code < 256 ? 256 + code : *text.data;
            learner->counts[unit]++;
            if (last < UNITS && learner->pairs[last][unit] < UINT16_MAX)
                learner->pairs[last][unit]++;
            last = unit;
        }
    }
}

/* gain is added to what the same bytes gained before. It rises with the size, but slowly: the bytes of a long symbol
 * would mostly be covered by two others without it. By size alone, l_comment takes 5 % more. */
static void propose(struct learner *learner, struct mg_slice a, struct mg_slice b, uint32_t count)
{
    struct candidate made = {.size = (uint32_t)MG_MIN(a.size + b.size, (size_t)MG_FSST__SYMBOL_MAX)};
    uint32_t from_b = made.size - (uint32_t)a.size;

    memcpy(made.bytes, a.data, a.size);
    if (from_b)
        memcpy(made.bytes + a.size, b.data, from_b);
    made.gain = count * (made.size == 1 ? 4 : MG_MIN(made.size, 6) + 4);
    uint64_t hash = (mg_load_le64(made.bytes) ^ mg_load_le64(made.bytes + 8) * 31) * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = (uint32_t)(hash >> 40);; i++) {
        struct candidate *place = &learner->candidates[i % CANDIDATES_MAX];
        if (place->size == 0) {
            if (learner->candidate_count < CANDIDATES_MAX / 2) {
                *place = made;
                learner->candidate_count++;
            }
            return;
        }
        if (place->size == made.size && memcmp(place->bytes, made.bytes, sizeof made.bytes) == 0) {
            place->gain += made.gain;
            return;
        }
    }
}

/* The candidates, best first, without gaps. */
static void rank(struct learner *learner)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < CANDIDATES_MAX; i++)
        if (learner->candidates[i].size)
            learner->candidates[count++] = learner->candidates[i];
    if (count)
        qsort(learner->candidates, count, sizeof *learner->candidates, compare_gains);
}

static void propose_all(struct learner *learner)
{
    uint8_t room_a[1], room_b[1];

    memset(learner->candidates, 0, sizeof learner->candidates);
    learner->candidate_count = 0;
    for (uint32_t a = 0; a < UNITS; a++) {
        if (learner->counts[a] == 0)
            continue;
        struct mg_slice first = unit_bytes(learner, a, room_a);
        propose(learner, first, MG_SLICE(NULL, 0), learner->counts[a]);
        for (uint32_t b = 0; b < UNITS && first.size < MG_FSST__SYMBOL_MAX; b++)
            if (learner->pairs[a][b] >= PAIRS_MIN)
                propose(learner, first, unit_bytes(learner, b, room_b), learner->pairs[a][b]);
    }
}

struct mg_fsst__encoder *mg_fsst__train(const struct mg_slice *texts, uint32_t count, struct mg_arena *arena)
{
    struct mg_fsst__encoder *encoder = mg_arena_new(arena, struct mg_fsst__encoder);
    struct learner *learner = mg_arena_new(arena, struct learner);

    if (!encoder || !learner)
        return NULL;
    encoder->table = mg_arena_alloc(arena, mg_fsst__table_bytes(MG_FSST__SYMBOLS));
    if (!encoder->table)
        return NULL;
    learner->encoder = encoder;
    set_symbols(encoder, NULL, 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t quarter = MG_MIN(count, MG_MAX(count / 4, 64u));
        count_units(learner, texts, round < ROUNDS / 2 ? quarter : count);
        propose_all(learner);
        rank(learner);
        set_symbols(encoder, learner->candidates, MG_MIN(learner->candidate_count, (uint32_t)MG_FSST__SYMBOLS));
    }
    return encoder;
}
