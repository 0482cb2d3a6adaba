/* merge_choice_test.c -- a table in figures alone: what its merges write per row, how many parts it has, and how large
 * one merge becomes, up to a hundred million rows.
 *
 * A part is a range of numbers with rows spread evenly; changes hit all rows alike. What the engine does with rows is
 * left out; what it writes is counted.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "engine/magic/merge_choice.h"

enum { PARTS_MAX = 512, FLUSH_CHANGES = 450000, REST = 2 };

struct sim_part {
    double rows, living;
    uint64_t low, high;
    uint8_t keys[2][8];
};

struct sim {
    struct sim_part parts[PARTS_MAX];
    uint32_t count, most_parts;
    double written, flushed, largest, most_dead;
    uint64_t merges;
};

static void put_key(uint8_t to[8], uint64_t key)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(key >> (56 - 8 * i));
}

static void add(struct sim *sim, double rows, uint64_t low, uint64_t high)
{
    assert_true(sim->count < PARTS_MAX);
    sim->parts[sim->count++] = (struct sim_part){.rows = rows, .living = rows, .low = low, .high = high};
}

static double living(const struct sim *sim)
{
    double rows = 0;
    for (uint32_t i = 0; i < sim->count; i++)
        rows += sim->parts[i].living;
    return rows;
}

static struct mg_choice_part describe(struct sim_part *part)
{
    put_key(part->keys[0], part->low);
    put_key(part->keys[1], part->high);
    return (struct mg_choice_part){.rows = (uint64_t)part->rows,
                                   .living = (uint64_t)part->living,
                                   .low = MG_SLICE(part->keys[0], 8),
                                   .high = MG_SLICE(part->keys[1], 8)};
}

/* As the engine does it: cut where other full parts begin if that is near. */
static uint64_t cut_at(const struct sim *sim, uint64_t key, uint64_t reach, double cap)
{
    uint64_t best = key;
    uint64_t distance = reach;
    for (uint32_t i = 0; i < sim->count; i++) {
        uint64_t low = sim->parts[i].low, away = low > key ? low - key : key - low;
        if (sim->parts[i].living >= cap / 2 && away < distance) {
            distance = away;
            best = low;
        }
    }
    return best;
}

static void merge(struct sim *sim, const uint32_t *picks, uint32_t count, double cap)
{
    double rows = 0;
    uint64_t low = UINT64_MAX, high = 0;
    for (uint32_t i = count; i-- > 0;) {
        struct sim_part *part = &sim->parts[picks[i]];
        rows += part->living;
        low = MG_MIN(low, part->low);
        high = MG_MAX(high, part->high);
        memmove(part, part + 1, (sim->count - picks[i] - 1) * sizeof *part);
        sim->count--;
    }
    uint32_t pieces = (uint32_t)(rows / cap) + 1;
    uint64_t begin = low, width = (high - low) / pieces;
    for (uint32_t i = 0; i < pieces; i++) {
        uint64_t end = i + 1 == pieces ? high : cut_at(sim, low + (i + 1) * width, width / 3, cap) - 1;
        add(sim, rows * ((double)(end - begin) / (double)(high - low)), begin, end);
        begin = end + 1;
    }
    sim->written += rows;
    sim->largest = MG_MAX(sim->largest, rows);
    sim->merges++;
}

static void merge_all(struct sim *sim)
{
    struct mg_choice_part parts[PARTS_MAX];
    uint32_t picks[MG_MERGE_INPUTS_MAX], count;
    uint64_t cap = mg_merge__part_rows_max((uint64_t)living(sim));
    struct mg_choice_limits limits = {.part_rows_max = cap, .rows_max = UINT64_MAX};
    for (;;) {
        for (uint32_t i = 0; i < sim->count; i++)
            parts[i] = describe(&sim->parts[i]);
        count = mg_merge__choose(parts, sim->count, &limits, picks);
        if (count == 0)
            break;
        merge(sim, picks, count, (double)cap);
    }
    sim->most_parts = MG_MAX(sim->most_parts, sim->count);
}

/* So many changes: inserts, updates and deletions (of ten) of random rows; one flush. */
static void change(struct sim *sim, double changes, double inserts, double updates, uint64_t low, uint64_t high)
{
    double all = living(sim), dead = MG_MIN(changes * (10 - inserts) / 10, all), rows = 0, left = 0;
    for (uint32_t i = sim->count; i-- > 0;) {
        sim->parts[i].living -= all > 0 ? dead * sim->parts[i].living / all : 0;
        if (sim->parts[i].living < 0.5) /* it goes with the table's next view */
            memmove(&sim->parts[i], &sim->parts[i + 1], (--sim->count - i) * sizeof sim->parts[0]);
    }
    add(sim, changes * (inserts + updates) / 10, low, high);
    sim->flushed += changes * (inserts + updates) / 10;
    merge_all(sim);
    rows = left = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        rows += sim->parts[i].rows;
        left += sim->parts[i].living;
    }
    sim->most_dead = MG_MAX(sim->most_dead, (rows - left) / rows);
}

/* Random inserts up to so many rows, then as many changes again. Returns rows written by merges per row changed. */
static double grow(double rows, struct sim *sim, const char *what)
{
    memset(sim, 0, sizeof *sim);
    while (living(sim) < rows)
        change(sim, FLUSH_CHANGES, 10, 0, 0, UINT64_MAX - 1);
    double loading = sim->written / sim->flushed, changes = 0;
    sim->written = sim->flushed = sim->largest = sim->most_dead = 0;
    sim->most_parts = 0;
    sim->merges = 0;
    while (changes < 2 * rows) {
        change(sim, FLUSH_CHANGES, 2, 6, 0, UINT64_MAX - 1);
        changes += FLUSH_CHANGES;
    }
    print_message("%s: loaded at %.2f; then %.2f written by merges and %.2f by flushes a change, %llu merges, the "
                  "largest of %.1f M rows, up to %u parts, up to %.0f %% dead\n",
                  what, loading, sim->written / changes, sim->flushed / changes, (unsigned long long)sim->merges,
                  sim->largest / 1e6, sim->most_parts, 100 * sim->most_dead);
    return sim->written / changes;
}

static void a_change_costs_about_as_much_in_a_table_ten_times_as_large(void **state)
{
    static struct sim sim;
    double one = grow(1e6, &sim, "1 M"), ten = grow(10e6, &sim, "10 M");
    assert_true(sim.most_parts <= 32 && sim.most_dead < 0.3);
    double hundred = grow(100e6, &sim, "100 M");
    assert_true(sim.most_parts <= 32 && sim.most_dead < 0.3);
    assert_true(hundred < 5.2 && ten < 3.4);
    /* Beside merges a change takes about as long as writing REST rows: put, WAL, flush. */
    assert_true(hundred + REST <= 1.5 * (ten + REST) && hundred + REST <= 2.5 * (one + REST));
    assert_true(sim.largest <= 8.0 * (1 << 24)); /* a merge is bounded, not by the table */
}

/* Keys that only rise: parts that do not overlap are joined while they are small. */
static void rising_keys_cost_their_levels(void **state)
{
    static struct sim sim;
    memset(&sim, 0, sizeof sim);
    for (uint64_t i = 0; i < 1000; i++)
        change(&sim, FLUSH_CHANGES, 10, 0, i << 32, ((i + 1) << 32) - 1);
    print_message("rising: %.2f written by merges a row, up to %u parts, largest merge %.1f M rows\n",
                  sim.written / sim.flushed, sim.most_parts, sim.largest / 1e6);
    assert_true(sim.written / sim.flushed < 4);
    assert_true(sim.most_parts <= 64);
}

/* A part for every commit of one row. */
static void a_storm_of_tiny_parts_stays_bounded(void **state)
{
    static struct sim sim;
    memset(&sim, 0, sizeof sim);
    for (int i = 0; i < 100000; i++)
        change(&sim, 1, 5, 5, 0, UINT64_MAX - 1);
    print_message("storm: %.2f written by merges a row, up to %u parts\n", sim.written / sim.flushed, sim.most_parts);
    assert_true(sim.most_parts <= 32);
}

static void busy_parts_and_limits_are_kept(void **state)
{
    static struct sim sim;
    struct mg_choice_part parts[PARTS_MAX];
    uint32_t picks[MG_MERGE_INPUTS_MAX];
    struct mg_random random;
    mg_random_init(&random, 1);
    for (int round = 0; round < 2000; round++) {
        sim.count = 0;
        uint32_t count = (uint32_t)mg_random_below(&random, 60);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t low = mg_random_below(&random, 1000);
            add(&sim, (double)(mg_random_u64(&random) >> (34 + mg_random_below(&random, 30))), low,
                low + mg_random_below(&random, 1000));
            sim.parts[i].living = sim.parts[i].rows * (double)mg_random_below(&random, 101) / 100;
            parts[i] = describe(&sim.parts[i]);
            parts[i].is_busy = mg_random_below(&random, 3) == 0;
        }
        struct mg_choice_limits limits = {.part_rows_max = (uint64_t)1 << (10 + mg_random_below(&random, 20)),
                                          .rows_min = mg_random_below(&random, 2) ? 0 : 1 << 22,
                                          .rows_max = mg_random_below(&random, 2) ? UINT64_MAX : 1 << 22};
        uint32_t picked = mg_merge__choose(parts, count, &limits, picks);
        assert_true(picked <= MG_MERGE_INPUTS_MAX);
        for (uint32_t i = 0; i < picked; i++) {
            assert_true(picks[i] < count && !parts[picks[i]].is_busy && parts[picks[i]].living);
            assert_true(i == 0 || picks[i] > picks[i - 1]);
        }
        uint64_t rows = mg_merge__living(parts, picks, picked);
        assert_true(picked == 0 || (rows > limits.rows_min && rows <= limits.rows_max));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_costs_about_as_much_in_a_table_ten_times_as_large),
        cmocka_unit_test(rising_keys_cost_their_levels),
        cmocka_unit_test(a_storm_of_tiny_parts_stays_bounded),
        cmocka_unit_test(busy_parts_and_limits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
