/* merge_plan.c -- which parts of which tables are merged next, and where the outputs are cut.
 *
 * merge_choice.c decides over one table; here tables are gone through, parts are taken so that nobody else merges them,
 * and a merge of more than part_rows_max rows becomes pieces: outputs of the same inputs, each of a range of keys. Cuts
 * lie where another full part of the table begins, if one does near there, so that pieces lie over one another as whole
 * parts; else in equal steps of the largest input.
 * Threads  in the writer's turn; cut alone reads parts, outside of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "engine/magic/compaction.h"
#include "engine/magic/merge_choice.h"

enum { ROWS_A_ROUND = 1 << 22, NEAR = 3 /* one part in so many of a piece */ };

uint32_t mg_wpart__living(const struct mg_wpart *part)
{
    return mg_part_row_count(part->part) - (part->deleted.marks ? part->deleted.marks->dead_count : 0);
}

uint64_t mg_wtable__part_rows_max(const struct mg_magic *magic, const struct mg_wtable *table)
{
    return magic->keeping.part_rows_max ? magic->keeping.part_rows_max
                                        : mg_merge__part_rows_max(table->visible_live_count);
}

enum mg_code mg_round__plan_merge(struct mg_round *round, struct mg_wtable *table, const uint32_t *places,
                                  uint32_t count, struct mg_error *err)
{
    uint64_t rows = 0, piece_rows = mg_wtable__part_rows_max(round->magic, table);
    for (uint32_t i = 0; i < count; i++)
        rows += mg_wpart__living(table->parts[places[i]]);
    for (uint64_t piece = 0; piece <= rows / (piece_rows + 1); piece++) {
        struct mg_compaction *item;
        MG_TRY(mg_round__add(round, &item, err));
        item->is_piece = piece > 0;
        for (uint32_t i = 0; i < count; i++)
            MG_TRY(mg_compaction__add(item, round->newest, table, MG_PART_SLOT + places[i], err));
    }
    for (uint32_t i = 0; i < count; i++)
        table->parts[places[i]]->is_busy = true;
    return MG_OK;
}

/* ---- which --------------------------------------------------------------------------------------------------- */

static struct mg_choice_part describe(const struct mg_wpart *part)
{
    struct mg_choice_part out = {
        .rows = mg_part_row_count(part->part), .living = mg_wpart__living(part), .is_busy = part->is_busy};
    mg_part_keys(part->part, &out.low, &out.high);
    return out;
}

static enum mg_code plan_table(struct mg_round *round, struct mg_wtable *table, uint64_t *rows, struct mg_error *err)
{
    MG_CLEANUP(mg_freep) struct mg_choice_part *parts = NULL;
    MG_CLEANUP(mg_freep) uint32_t *places = NULL;
    uint32_t picks[MG_MERGE_INPUTS_MAX], count = 0;
    struct mg_choice_limits limits = {.part_rows_max = mg_wtable__part_rows_max(round->magic, table),
                                      .rows_min = round->lane ? round->lane->rows_min : 0,
                                      .rows_max = round->lane ? round->lane->rows_max : UINT64_MAX};
    if (table->part_count == 0 || table->table->id == round->magic->keeping.held_table)
        return MG_OK;
    parts = calloc(table->part_count, sizeof *parts);
    places = calloc(table->part_count, sizeof *places);
    if (!parts || !places)
        return mg_fail(err, MG_NO_MEMORY, "no memory to look at %u parts", table->part_count);
    for (uint32_t p = 0; p < table->part_count; p++)
        if (table->parts[p]) {
            places[count] = p;
            parts[count++] = describe(table->parts[p]);
        }
    uint32_t picked = mg_merge__choose(parts, count, &limits, picks);
    if (picked == 0)
        return MG_OK;
    *rows += mg_merge__living(parts, picks, picked);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < picked; i++) {
        picks[i] = places[picks[i]];
        bytes += mg_part_file_bytes(table->parts[picks[i]]->part);
    }
    if (mg_space__check_merge(round->magic, bytes, NULL) != MG_OK)
        return MG_OK; /* it waits for room; smaller ones may have it */
    return mg_round__plan_merge(round, table, picks, picked, err);
}

enum mg_code mg_round__plan_merges(struct mg_round *round, struct mg_error *err)
{
    struct mg_store *store = &round->magic->store;
    uint32_t first = round->lane ? round->lane->next_table : 0;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < store->table_count && (!round->lane || rows < ROWS_A_ROUND); i++) {
        uint32_t at = (first + i) % store->table_count;
        MG_TRY(plan_table(round, store->tables[at], &rows, err));
        if (round->lane)
            round->lane->next_table = at + 1;
    }
    return MG_OK;
}

/* ---- where it is cut ----------------------------------------------------------------------------------------- */

static struct mg_part *largest_input(const struct mg_compaction *item)
{
    struct mg_part *found = item->inputs[0].part->part;
    for (uint32_t i = 1; i < item->input_count; i++)
        if (mg_part_row_count(item->inputs[i].part->part) > mg_part_row_count(found))
            found = item->inputs[i].part->part;
    return found;
}

static bool is_input(const struct mg_compaction *item, const struct mg_part *part)
{
    for (uint32_t i = 0; i < item->input_count; i++)
        if (item->inputs[i].part->part == part)
            return true;
    return false;
}

/* The key of that row, or the nearest at which another full part begins. */
static enum mg_code key_near(const struct mg_compaction *item, struct mg_part *guide, uint32_t row, uint32_t reach,
                             uint64_t full_rows, struct mg_buffer *out, struct mg_error *err)
{
    const struct mg_table_view *table =
        item->base->catalog->tables[mg_catalog__find_id(item->base->catalog, item->table_id)];
    struct mg_slice best = {0};
    for (uint32_t p = 0; p < table->part_count; p++) {
        struct mg_slice low, high;
        uint32_t at;
        if (mg_part_row_count(table->parts[p].part) < full_rows || is_input(item, table->parts[p].part))
            continue;
        mg_part_keys(table->parts[p].part, &low, &high);
        MG_TRY(mg_part_lower_bound(guide, low, &at, err));
        uint32_t away = at > row ? at - row : row - at;
        if (away < reach) {
            reach = away;
            best = low;
        }
    }
    return best.size ? mg_buffer_append(out, best.data, best.size, err) : mg_part_key_at(guide, row, out, err);
}

enum mg_code mg_round__cut(struct mg_round *round, uint32_t first, uint32_t *out_next, struct mg_error *err)
{
    uint32_t count = 1;
    while (first + count < round->count && round->items[first + count].is_piece)
        count++;
    *out_next = first + count;
    if (count == 1)
        return MG_OK;
    struct mg_part *guide = largest_input(&round->items[first]);
    uint32_t rows = mg_part_row_count(guide), piece = rows / count;
    uint64_t full_rows = round->items[first].row_count / count / 2;
    for (uint32_t i = 1; i < count; i++) {
        struct mg_compaction *before = &round->items[first + i - 1], *item = &round->items[first + i];
        uint32_t row = (uint32_t)((uint64_t)rows * i / count);
        MG_TRY(key_near(item, guide, row, piece / NEAR, full_rows, &item->low, err));
        MG_TRY(mg_buffer_append(&before->high, item->low.data, item->low.size, err));
    }
    return MG_OK;
}
