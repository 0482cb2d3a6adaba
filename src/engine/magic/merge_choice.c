/* merge_choice.c -- which parts of a table become one, decided from their sizes and keys alone.
 *
 * In this order, the first that finds something:
 *   level     FANOUT parts of about the same size (within a factor of FANOUT): so a row is written about once a level.
 *   overlap   OVERLAPS full parts of the same density over one another. A part is full when it has half of
 *             part_rows_max rows; full parts are merged only where they overlap, into pieces that do not, so that a
 *             merge stays as large as a few parts however large the table is. A part's density is the number of rows
 *             that the table would have if all of it were like the part's range: pieces of one merge are as dense as
 *             the whole.
 *   dead      a part of whose rows one in four is dead; smaller ones in its range go with it.
 *   many      the smallest, when a table has more than PARTS_MANY.
 * SPDX-License-Identifier: Apache-2.0 */
#include "engine/magic/merge_choice.h"

#include <string.h>

enum {
    FANOUT = 6,
    FANOUT_TINY = 4,      /* of the lowest level, whose rows cost next to nothing */
    OVERLAPS = 4,         /* full parts over one another */
    LEVEL_ROWS = 1 << 14, /* parts below it are of the lowest level */
    LEVELS = 12,
    DEAD_AT_MOST = 1, /* rows of DEAD_OF */
    DEAD_OF = 4,
    PARTS_MANY = 28,
    FULL_MAX = 128, /* more than that are taken as equally dense */
    ROUNDS = 12,
    PART_ROWS_MAX = 1 << 24,
    PARTS_OF_A_RUN = 16,
};
#define PART_ROWS_LIMIT ((uint64_t)1 << 31) /* row numbers have 32 bits */

uint64_t mg_merge__part_rows_max(uint64_t table_rows)
{
    return MG_MIN(MG_MAX(table_rows / PARTS_OF_A_RUN, (uint64_t)PART_ROWS_MAX), PART_ROWS_LIMIT);
}

uint64_t mg_merge__living(const struct mg_choice_part *parts, const uint32_t *picks, uint32_t count)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count; i++)
        rows += parts[picks[i]].living;
    return rows;
}

static bool overlap(const struct mg_choice_part *a, const struct mg_choice_part *b)
{
    return mg_slice_compare(a->low, b->high) <= 0 && mg_slice_compare(b->low, a->high) <= 0;
}

static bool is_full(const struct mg_choice_part *part, const struct mg_choice_limits *limits)
{
    return part->living >= limits->part_rows_max / 2;
}

static uint32_t level_of(uint64_t rows, uint64_t lowest)
{
    uint32_t level = 0;
    for (; rows >= lowest && level + 1 < LEVELS; rows /= FANOUT)
        level++;
    return level;
}

/* ---- density of full parts ----------------------------------------------------------------------------------- */

struct density {
    uint32_t count;
    uint32_t places[FULL_MAX];
    uint32_t first[FULL_MAX], end[FULL_MAX]; /* intervals between bounds that the part covers */
    struct mg_slice bounds[2 * FULL_MAX];    /* rising */
    uint32_t bound_count;
    double mass[2 * FULL_MAX]; /* of all rows: the share in each interval */
};

static void note_bound(struct density *d, struct mg_slice key)
{
    uint32_t at = d->bound_count;
    while (at > 0 && mg_slice_compare(d->bounds[at - 1], key) > 0)
        at--;
    if (at > 0 && mg_slice_compare(d->bounds[at - 1], key) == 0)
        return;
    memmove(d->bounds + at + 1, d->bounds + at, (d->bound_count - at) * sizeof d->bounds[0]);
    d->bounds[at] = key;
    d->bound_count++;
}

static uint32_t bound_at(const struct density *d, struct mg_slice key)
{
    uint32_t at = 0;
    while (at < d->bound_count && mg_slice_compare(d->bounds[at], key) < 0)
        at++;
    return at;
}

static double share(const struct density *d, uint32_t i)
{
    double sum = 0;
    for (uint32_t at = d->first[i]; at < d->end[i]; at++)
        sum += d->mass[at];
    return sum;
}

/* Where rows lie is not known, only how many each part has between its bounds: begin with any distribution, spread each
 * part by it, and take what comes out as the next one. */
static void spread(struct density *d, const struct mg_choice_part *parts)
{
    double total = 0;
    for (uint32_t at = 0; at < d->bound_count; at++)
        d->mass[at] = 1.0 / d->bound_count;
    for (uint32_t i = 0; i < d->count; i++)
        total += (double)parts[d->places[i]].living;
    for (unsigned round = 0; round < ROUNDS; round++) {
        double next[2 * FULL_MAX] = {0};
        for (uint32_t i = 0; i < d->count; i++) {
            double scale = (double)parts[d->places[i]].living / (share(d, i) * total);
            for (uint32_t at = d->first[i]; at < d->end[i]; at++)
                next[at] += d->mass[at] * scale;
        }
        memcpy(d->mass, next, d->bound_count * sizeof next[0]);
    }
}

static void measure(struct density *d, const struct mg_choice_part *parts, uint32_t count,
                    const struct mg_choice_limits *limits)
{
    d->count = d->bound_count = 0;
    for (uint32_t i = 0; i < count && d->count < FULL_MAX; i++)
        if (is_full(&parts[i], limits))
            d->places[d->count++] = i;
    for (uint32_t i = 0; i < d->count; i++) {
        note_bound(d, parts[d->places[i]].low);
        note_bound(d, parts[d->places[i]].high);
    }
    for (uint32_t i = 0; i < d->count; i++) {
        d->first[i] = bound_at(d, parts[d->places[i]].low);
        d->end[i] = MG_MAX(bound_at(d, parts[d->places[i]].high), d->first[i] + 1);
    }
    spread(d, parts);
}

/* ---- choices ------------------------------------------------------------------------------------------------- */

struct choice {
    const struct mg_choice_part *parts;
    uint32_t part_count;
    const struct mg_choice_limits *limits;
    uint32_t count;
    uint64_t rows;
    uint32_t *picks;
};

static void start(struct choice *c) { c->count = 0, c->rows = 0; }

static bool may_take(const struct choice *c, uint32_t place)
{
    const struct mg_choice_part *part = &c->parts[place];
    return !part->is_busy && part->living && c->count < MG_MERGE_INPUTS_MAX &&
           c->rows + part->living <= c->limits->rows_max;
}

static void take(struct choice *c, uint32_t place)
{
    c->picks[c->count++] = place;
    c->rows += c->parts[place].living;
}

static bool is_good(const struct choice *c, uint32_t least)
{
    return c->count >= least && c->rows > c->limits->rows_min;
}

static bool choose_level(struct choice *c)
{
    for (uint32_t level = 0; level < LEVELS; level++) {
        start(c);
        for (uint32_t i = 0; i < c->part_count; i++) {
            const struct mg_choice_part *part = &c->parts[i];
            if (!is_full(part, c->limits) && level_of(part->living, LEVEL_ROWS) == level && may_take(c, i) &&
                c->rows + part->living <= 2 * c->limits->part_rows_max)
                take(c, i);
        }
        if (is_good(c, level ? FANOUT : FANOUT_TINY))
            return true;
    }
    return false;
}

static uint32_t density_level(const struct density *d, uint32_t i, const struct choice *c)
{
    double rows = (double)c->parts[d->places[i]].living / MG_MAX(share(d, i), 1e-9);
    /* In the middle between two powers, as densities of one merge differ a little. */
    return level_of((uint64_t)MG_MIN(rows, 1e18), MG_MAX(c->limits->part_rows_max * 2, (uint64_t)1));
}

static bool choose_overlap(struct choice *c)
{
    struct density d;
    measure(&d, c->parts, c->part_count, c->limits);
    for (uint32_t seed = 0; d.count >= OVERLAPS && seed < d.count; seed++) {
        uint32_t level = density_level(&d, seed, c);
        start(c);
        for (uint32_t i = 0; i < d.count; i++)
            if (density_level(&d, i, c) == level && overlap(&c->parts[d.places[i]], &c->parts[d.places[seed]]) &&
                may_take(c, d.places[i]))
                take(c, d.places[i]);
        if (is_good(c, OVERLAPS))
            return true;
    }
    return false;
}

static bool is_dead_enough(const struct mg_choice_part *part)
{
    uint64_t dead = part->rows - part->living;
    return part->living && dead && dead * DEAD_OF >= part->rows * DEAD_AT_MOST;
}

static bool choose_dead(struct choice *c)
{
    for (uint32_t i = 0; i < c->part_count; i++) {
        const struct mg_choice_part *part = &c->parts[i];
        start(c);
        if (!is_dead_enough(part) || !may_take(c, i))
            continue;
        take(c, i);
        for (uint32_t j = 0; j < c->part_count; j++)
            if (j != i && c->parts[j].living < part->living && overlap(&c->parts[j], part) && may_take(c, j) &&
                c->rows + c->parts[j].living <= c->limits->part_rows_max)
                take(c, j);
        if (is_good(c, 1))
            return true;
    }
    return false;
}

static bool choose_many(struct choice *c)
{
    uint64_t least = 0;
    start(c);
    if (c->part_count <= PARTS_MANY)
        return false;
    while (c->count < MG_MERGE_INPUTS_MAX / 2) { /* the next larger one; equal ones once a round */
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < c->part_count; i++) {
            uint64_t size = c->parts[i].living * c->part_count + i;
            if (size >= least && may_take(c, i) && !is_full(&c->parts[i], c->limits) &&
                (best == UINT32_MAX || size < c->parts[best].living * c->part_count + best))
                best = i;
        }
        if (best == UINT32_MAX)
            break;
        take(c, best);
        least = c->parts[best].living * c->part_count + best + 1;
    }
    return is_good(c, 2);
}

static void sort_picks(struct choice *c)
{
    for (uint32_t i = 1; i < c->count; i++)
        for (uint32_t j = i; j > 0 && c->picks[j - 1] > c->picks[j]; j--) {
            uint32_t place = c->picks[j];
            c->picks[j] = c->picks[j - 1];
            c->picks[j - 1] = place;
        }
}

uint32_t mg_merge__choose(const struct mg_choice_part *parts, uint32_t count, const struct mg_choice_limits *limits,
                          uint32_t picks[MG_MERGE_INPUTS_MAX])
{
    struct choice c = {.parts = parts, .part_count = count, .limits = limits, .picks = picks};
    if (!choose_level(&c) && !choose_overlap(&c) && !choose_dead(&c) && !choose_many(&c))
        return 0;
    sort_picks(&c);
    return c.count;
}
