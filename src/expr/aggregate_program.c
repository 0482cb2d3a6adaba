/* aggregate_program.c -- the expressions of an aggregate as one list of steps, and its run over a block.
 *
 * Once     Equal operations are one step, whichever calls they came from: price * (1 - discount) is computed once for
 *          both sums of TPC-H Q1.
 * Bounds   A block's columns come with bounds; those of each result follow, in 128 bits. Where they fit 64 bits and the
 *          result's type, the step is done in 64 bits without a look at any row, as nothing can go wrong. Else it is
 *          done as scalar_eval.c does it, in Arrow's layout, row by row where need be.
 * Slots    A step's values lie in its slot of the frame until its last reader has run.
 * Threads  a program is immutable; a run belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "column/bits.h"
#include "expr/aggregate_internal.h"
#include "expr/any.h"
#include "expr/expr_internal.h"

enum { POWER_MAX = 18 /* bounds times 10^18 stay in 128 bits */ };

/* ---- steps --------------------------------------------------------------------------------------------------- */

static bool same_constant(const struct mg_scalar__node *a, const struct mg_scalar__node *b)
{
    if (!a->constant || !b->constant)
        return a->constant == b->constant;
    return memcmp(a->constant, b->constant, mg_type_width(a->storage.id)) == 0;
}

/* Do they compute the same from the same arguments? */
static bool same_operation(const struct mg_scalar__node *a, const struct mg_scalar__node *b)
{
    if (a->kind != b->kind || a->class != b->class || !mg_type_equal(a->type, b->type) ||
        !mg_type_equal(a->storage, b->storage) || a->is_spark != b->is_spark)
        return false;
    if (a->kind == MG_SCALAR_COLUMN)
        return a->column == b->column;
    if (a->kind == MG_SCALAR_CONSTANT)
        return same_constant(a, b);
    return a->left_up == b->left_up && a->right_up == b->right_up && a->down == b->down && a->bound == b->bound &&
           a->always_fits == b->always_fits;
}

static bool is_exact(const struct mg_scalar__node *node)
{
    return node->class == MG_CLASS_INT || node->class == MG_CLASS_DECIMAL;
}

static void find_constant(struct mg_agg__step *step)
{
    const struct mg_scalar__node *node = step->node;

    if (node->kind != MG_SCALAR_CONSTANT || !node->constant || !is_exact(node))
        return;
    mg_int128 v = node->class == MG_CLASS_INT ? *(const int64_t *)node->constant : *(const any_int128 *)node->constant;
    step->constant = (int64_t)v;
    step->has_int = step->constant == v;
}

/* Recursion is as deep as the tree, which binding bounded. */
static uint16_t add_step(struct mg_agg__program *program, const struct mg_scalar__node *node)
{
    struct mg_agg__step step = {.node = node, .left = MG_AGG__NO_STEP, .right = MG_AGG__NO_STEP};

    if (node->kind != MG_SCALAR_COLUMN && node->kind != MG_SCALAR_CONSTANT) {
        step.left = add_step(program, node->left);
        step.right = node->right ? add_step(program, node->right) : MG_AGG__NO_STEP;
    }
    for (uint32_t i = 0; i < program->step_count; i++) {
        const struct mg_agg__step *known = &program->steps[i];
        if (known->left == step.left && known->right == step.right && same_operation(known->node, node))
            return (uint16_t)i;
    }
    find_constant(&step);
    mg_assert(program->step_count < program->step_room);
    program->steps[program->step_count] = step;
    return (uint16_t)program->step_count++;
}

static uint32_t count_nodes(const struct mg_scalar__node *node)
{
    return node ? 1 + count_nodes(node->left) + count_nodes(node->right) : 0;
}

/* ---- what the types allow ------------------------------------------------------------------------------------ */

static bool may_be_ints(const struct mg_agg__program *program, uint16_t at)
{
    const struct mg_agg__step *step = &program->steps[at];
    const struct mg_scalar__node *node = step->node;

    switch (node->kind) {
    case MG_SCALAR_COLUMN: return node->storage.id != MG_TYPE_UTF8 && !mg_scalar__is_float(node->storage.id);
    case MG_SCALAR_CONSTANT: return step->has_int;
    case MG_SCALAR_DIVIDE: return false;
    default: break;
    }
    if (!is_exact(node) || node->down || node->left_up > POWER_MAX || node->right_up > POWER_MAX)
        return false;
    return may_be_ints(program, step->left) && (step->right == MG_AGG__NO_STEP || may_be_ints(program, step->right));
}

static bool total_may_be_ints(const struct mg_agg__program *program, const struct mg_agg__total *total)
{
    if (total->step == MG_AGG__NO_STEP)
        return true;
    bool is_bare = program->steps[total->step].node->kind == MG_SCALAR_COLUMN;
    return (total->function == MG_AGGREGATE_COUNT && is_bare) || may_be_ints(program, total->step);
}

static void use(struct mg_agg__program *program, uint16_t at, uint32_t how)
{
    if (at != MG_AGG__NO_STEP && program->steps[at].node->kind == MG_SCALAR_COLUMN)
        program->uses[program->steps[at].node->column] |= (uint8_t)how;
}

static void mark_uses(struct mg_agg__program *program, uint32_t group_count)
{
    for (uint32_t i = 0; i < program->step_count; i++) {
        const struct mg_agg__step *step = &program->steps[i];
        uint32_t how = is_exact(step->node) ? MG_AGG__USED_INTS | MG_AGG__USED_BOUNDS : 0;
        use(program, (uint16_t)i, MG_AGG__USED);
        use(program, step->left, how);
        use(program, step->right, how);
    }
    for (uint32_t i = 0; i < group_count; i++)
        use(program, program->groups[i], MG_AGG__USED_KEY);
    for (uint32_t i = 0; i < program->total_count; i++)
        if (program->totals[i].function > MG_AGGREGATE_COUNT)
            use(program, program->totals[i].step, MG_AGG__USED_INTS);
}

/* ---- slots --------------------------------------------------------------------------------------------------- */

static void read_until(struct mg_agg__program *program, uint16_t at, uint32_t last)
{
    if (at != MG_AGG__NO_STEP)
        program->steps[at].last = (uint16_t)MG_MAX(program->steps[at].last, last);
}

/* Which step is the last one before whose end a value is read. */
static void find_last_readers(struct mg_agg__program *program, uint32_t group_count)
{
    for (uint32_t i = 0; i < group_count; i++)
        read_until(program, program->groups[i], program->group_end_step - 1);
    for (uint32_t i = 0; i < program->total_count; i++)
        read_until(program, program->totals[i].step, program->totals[i].end_step - 1u);
    for (uint32_t i = program->step_count; i-- > 0;) {
        const struct mg_agg__step *step = &program->steps[i];
        uint32_t last = step->node->kind == MG_SCALAR_CONVERT ? MG_MAX(step->last, i) : i; /* it may show its left */
        read_until(program, step->left, last);
        read_until(program, step->right, last);
    }
}

static void assign_slots(struct mg_agg__program *program)
{
    uint16_t until[MG_AGGREGATE_NODES_MAX] = {0}; /* by slot: one past the last reader */

    for (uint32_t i = 0; i < program->step_count; i++) {
        struct mg_agg__step *step = &program->steps[i];
        uint32_t slot = 0;
        if (step->node->kind == MG_SCALAR_COLUMN)
            continue;
        while (slot < program->slot_count && until[slot] > i)
            slot++;
        mg_assert(slot < MG_AGGREGATE_NODES_MAX);
        program->slot_count = MG_MAX(program->slot_count, slot + 1);
        step->slot = (uint16_t)slot;
        until[slot] = (uint16_t)(MG_MAX(step->last, i) + 1);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

/* Calls of SUM and AVG, or of the same, with one argument. */
static uint16_t add_total(struct mg_agg__program *program, const struct mg_aggregate_bound_call *call, uint32_t number)
{
    enum mg_aggregate_function function = call->function == MG_AGGREGATE_AVG ? MG_AGGREGATE_SUM : call->function;
    uint16_t step = call->argument ? add_step(program, call->argument->root) : MG_AGG__NO_STEP;

    for (uint32_t i = 0; i < program->total_count; i++)
        if (program->totals[i].function == function && program->totals[i].step == step) {
            if (call->function == MG_AGGREGATE_AVG) /* it knows how many there were */
                program->totals[i].merged_call = (uint16_t)number;
            return (uint16_t)i;
        }
    program->totals[program->total_count] = (struct mg_agg__total){
        .function = function, .step = step, .end_step = (uint16_t)program->step_count, .merged_call = (uint16_t)number};
    return (uint16_t)program->total_count++;
}

static void fill(struct mg_agg__program *program, const struct mg_aggregate *aggregate)
{
    for (uint32_t i = 0; i < aggregate->group_count; i++)
        program->groups[i] = add_step(program, aggregate->groups[i]->root);
    program->group_end_step = program->step_count;
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        program->total_of_call[i] = add_total(program, &aggregate->calls[i], i);
    mark_uses(program, aggregate->group_count);
    program->may_be_ints = true;
    for (uint32_t i = 0; i < program->total_count; i++)
        program->may_be_ints = program->may_be_ints && total_may_be_ints(program, &program->totals[i]);
    find_last_readers(program, aggregate->group_count);
    assign_slots(program);
}

enum mg_code mg_agg__program_new(const struct mg_aggregate *aggregate, struct mg_agg__program **out,
                                 struct mg_error *err)
{
    struct mg_agg__program *program = calloc(1, sizeof *program);

    if (!program)
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    for (uint32_t i = 0; i < aggregate->group_count; i++)
        program->step_room += count_nodes(aggregate->groups[i]->root);
    for (uint32_t i = 0; i < aggregate->call_count; i++)
        program->step_room += aggregate->calls[i].argument ? count_nodes(aggregate->calls[i].argument->root) : 0;
    program->steps = calloc((size_t)program->step_room + 1, sizeof *program->steps);
    program->uses = calloc((size_t)aggregate->schema_column_count + 1, sizeof *program->uses);
    if (!program->steps || !program->uses) {
        mg_agg__program_free(program);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an aggregate");
    }
    fill(program, aggregate);
    *out = program;
    return MG_OK;
}

void mg_agg__program_free(struct mg_agg__program *program)
{
    if (!program)
        return;
    free(program->steps);
    free(program->uses);
    free(program);
}

/* ---- bounds -------------------------------------------------------------------------------------------------- */

struct span {
    mg_int128 low, high;
};

static struct span product(struct span x, struct span y)
{
    mg_int128 a = x.low * y.low, b = x.low * y.high, c = x.high * y.low, d = x.high * y.high;

    return (struct span){MG_MIN(MG_MIN(a, b), MG_MIN(c, d)), MG_MAX(MG_MAX(a, b), MG_MAX(c, d))};
}

static struct span times_power(struct span x, uint8_t digits)
{
    mg_int128 power = mg_decimal_power(digits);

    return (struct span){x.low * power, x.high * power};
}

static bool fits_type(const struct mg_scalar__node *node, struct span x)
{
    mg_int128 low = INT64_MIN, high = INT64_MAX;

    if (x.low < low || x.high > high)
        return false;
    if (node->kind == MG_SCALAR_CONVERT || (node->kind == MG_SCALAR_NEGATE && node->type.id == MG_TYPE_DECIMAL))
        return true; /* they lose nothing */
    if (node->type.id == MG_TYPE_DECIMAL)
        return x.low > -node->bound && x.high < node->bound;
    mg_expr__domain(node->type.id, &low, &high);
    return x.low >= low && x.high <= high;
}

/* Bounds of an operation's results, from those of 64 bits of its arguments. */
static struct span bound_operation(const struct mg_scalar__node *node, struct span x, struct span y)
{
    if (node->kind == MG_SCALAR_MULTIPLY)
        return product(x, y);
    x = times_power(x, node->left_up);
    if (node->kind == MG_SCALAR_CONVERT)
        return x;
    if (node->kind == MG_SCALAR_NEGATE)
        return (struct span){-x.high, -x.low};
    y = times_power(y, node->right_up);
    if (node->kind == MG_SCALAR_SUBTRACT)
        return (struct span){x.low - y.high, x.high - y.low};
    return (struct span){x.low + y.low, x.high + y.high};
}

static const struct mg_agg__value no_ints = {.low = 1, .high = 0};

static bool has_bounds(const struct mg_agg__value *value) { return value->low <= value->high; }

static void bound_step(struct mg_agg__run_state *state, uint32_t at)
{
    const struct mg_agg__step *step = &state->program->steps[at];
    const struct mg_scalar__node *node = step->node;
    struct mg_agg__value *value = &state->values[at];

    *value = no_ints;
    if (node->kind == MG_SCALAR_COLUMN) {
        *value = state->columns[node->column];
        if (!value->ints)
            value->low = 1, value->high = 0;
    } else if (node->kind == MG_SCALAR_CONSTANT) {
        if (step->has_int)
            value->low = value->high = step->constant;
    } else if (is_exact(node) && !node->down && node->kind != MG_SCALAR_DIVIDE && node->left_up <= POWER_MAX &&
               node->right_up <= POWER_MAX) {
        const struct mg_agg__value *left = &state->values[step->left];
        const struct mg_agg__value *right = step->right == MG_AGG__NO_STEP ? left : &state->values[step->right];
        if (!has_bounds(left) || !has_bounds(right))
            return;
        struct span x = {left->low, left->high}, y = {right->low, right->high}, z = bound_operation(node, x, y);
        if (fits_type(node, z)) {
            value->low = (int64_t)z.low;
            value->high = (int64_t)z.high;
        }
    }
}

bool mg_agg__program_bound(struct mg_agg__run_state *state)
{
    const struct mg_agg__program *program = state->program;
    bool all = true;

    state->done = 0;
    for (uint32_t i = 0; i < program->step_count; i++) {
        bound_step(state, i);
        if (program->steps[i].node->kind != MG_SCALAR_COLUMN)
            all = all && has_bounds(&state->values[i]);
    }
    for (uint32_t i = 0; i < program->total_count; i++) {
        const struct mg_agg__total *total = &program->totals[i];
        all = all && (total->function <= MG_AGGREGATE_COUNT || has_bounds(&state->values[total->step]));
    }
    return all;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static uint8_t *slot_of(const struct mg_agg__run_state *state, uint32_t step)
{
    return state->frame + (size_t)state->program->steps[step].slot * MG_AGG__SLOT;
}

static int64_t *slot_ints(const struct mg_agg__run_state *state, uint32_t step)
{
    return (int64_t *)(void *)(slot_of(state, step) + MG_AGG__SLOT_INTS);
}

/* Rows where both arguments are there, in the step's own slot: arguments' slots may be taken again. */
static void join_validity(const struct mg_agg__run_state *state, uint32_t at, const uint8_t *left, const uint8_t *right,
                          struct mg_agg__value *value)
{
    uint8_t *bits = slot_of(state, at) + MG_SCALAR__VALUES;

    value->validity = left || right ? bits : NULL;
    value->null_count = 0;
    if (!value->validity)
        return;
    for (uint32_t w = 0; w < (state->row_count + 63) / 64; w++)
        mg_store_le64(bits + (size_t)w * 8, (left ? mg_load_le64(left + (size_t)w * 8) : ~UINT64_C(0)) &
                                                (right ? mg_load_le64(right + (size_t)w * 8) : ~UINT64_C(0)));
    value->null_count = state->row_count - mg_bits_count(bits, 0, state->row_count);
    if (!value->null_count)
        value->validity = NULL;
}

static int64_t power(uint8_t digits) { return (int64_t)mg_decimal_power(digits); }

/* x * x_factor + y * y_factor, where either may be a constant. */
static void add_ints(const struct mg_agg__step *left, const struct mg_agg__value *x, int64_t x_factor,
                     const struct mg_agg__step *right, const struct mg_agg__value *y, int64_t y_factor, uint32_t count,
                     int64_t *to)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();

    if (right->has_int)
        kernels->scale(x->ints, x_factor, (int64_t)((uint64_t)right->constant * (uint64_t)y_factor), count, to);
    else if (left->has_int)
        kernels->scale(y->ints, y_factor, (int64_t)((uint64_t)left->constant * (uint64_t)x_factor), count, to);
    else
        kernels->add(x->ints, x_factor, y->ints, y_factor, count, to);
}

static void multiply_ints(const struct mg_agg__step *left, const struct mg_agg__value *x,
                          const struct mg_agg__step *right, const struct mg_agg__value *y, uint32_t count, int64_t *to)
{
    const struct mg_agg__kernels *kernels = mg_agg__kernels();

    if (right->has_int)
        kernels->scale(x->ints, right->constant, 0, count, to);
    else if (left->has_int)
        kernels->scale(y->ints, left->constant, 0, count, to);
    else
        kernels->multiply(x->ints, y->ints, count, to);
}

/* A constant's copies, where somebody wants to see it as a column. */
static void spread(struct mg_agg__run_state *state, uint32_t at)
{
    struct mg_agg__value *value = &state->values[at];
    int64_t *to = slot_ints(state, at);

    for (uint32_t i = 0; i < state->row_count; i++)
        to[i] = state->program->steps[at].constant;
    value->ints = to;
}

/* Nothing can go wrong: the bounds say so. */
static void run_ints(struct mg_agg__run_state *state, uint32_t at)
{
    const struct mg_agg__step *steps = state->program->steps, *step = &steps[at];
    const struct mg_scalar__node *node = step->node;
    struct mg_agg__value *value = &state->values[at];
    const struct mg_agg__value *x = &state->values[step->left], *y = x;
    const struct mg_agg__step *left = &steps[step->left], *right = left;
    int64_t *to = slot_ints(state, at), right_factor = power(node->right_up);

    if (step->right != MG_AGG__NO_STEP) {
        y = &state->values[step->right];
        right = &steps[step->right];
    }
    if (left->has_int && right->has_int) /* of two constants, or of one */
        spread(state, step->left);
    value->ints = to;
    join_validity(state, at, x->validity, y == x ? NULL : y->validity, value);
    switch (node->kind) {
    case MG_SCALAR_MULTIPLY: multiply_ints(left, x, right, y, state->row_count, to); return;
    case MG_SCALAR_ADD:
    case MG_SCALAR_SUBTRACT:
        right_factor = node->kind == MG_SCALAR_SUBTRACT ? -right_factor : right_factor;
        add_ints(left, x, power(node->left_up), right, y, right_factor, state->row_count, to);
        return;
    case MG_SCALAR_NEGATE: mg_agg__kernels()->scale(x->ints, -1, 0, state->row_count, to); return;
    default: break;
    }
    if (node->left_up == 0)
        value->ints = x->ints;
    else
        mg_agg__kernels()->scale(x->ints, power(node->left_up), 0, state->row_count, to);
}

static enum mg_code run_wide(struct mg_agg__run_state *state, uint32_t at, struct mg_error *err)
{
    const struct mg_agg__step *step = &state->program->steps[at];
    struct mg_agg__value *value = &state->values[at];
    const struct mg_vector *left = NULL, *right = NULL;
    uint8_t *slot = slot_of(state, at), *bits = slot + MG_SCALAR__VALUES;

    MG_TRY(mg_agg__program_vector(state, step->left, &left, err));
    if (step->right != MG_AGG__NO_STEP)
        MG_TRY(mg_agg__program_vector(state, step->right, &right, err));
    MG_TRY(mg_scalar__apply(step->node, left, right, state->row_count, slot, &value->vector, err));
    value->has_vector = true;
    value->null_count = value->vector.null_count;
    if (value->vector.validity && value->vector.validity != bits)
        memcpy(bits, value->vector.validity, mg_pad8(mg_bits_bytes(state->row_count)));
    value->validity = value->vector.validity = value->null_count ? bits : NULL;
    return MG_OK;
}

enum mg_code mg_agg__program_run(struct mg_agg__run_state *state, uint32_t end, struct mg_error *err)
{
    for (; state->done < end; state->done++) {
        const struct mg_agg__step *step = &state->program->steps[state->done];
        struct mg_agg__value *value = &state->values[state->done];
        value->row_count = state->row_count;
        if (step->node->kind == MG_SCALAR_COLUMN)
            continue;
        if (step->node->kind == MG_SCALAR_CONSTANT) {
            mg_scalar__constant(step->node, state->row_count, &value->vector);
            value->has_vector = true;
            value->validity = value->vector.validity;
            value->null_count = value->vector.null_count;
        } else if (has_bounds(value)) {
            run_ints(state, state->done);
        } else {
            MG_TRY(run_wide(state, state->done, err));
        }
    }
    return MG_OK;
}

struct mg_agg__value *mg_agg__program_value(struct mg_agg__run_state *state, uint16_t at)
{
    if (state->program->steps[at].has_int)
        spread(state, at);
    return &state->values[at];
}

enum mg_code mg_agg__program_vector(struct mg_agg__run_state *state, uint16_t at, const struct mg_vector **out,
                                    struct mg_error *err)
{
    const struct mg_scalar__node *node = state->program->steps[at].node;
    struct mg_agg__value *value = &state->values[at];

    *out = &value->vector;
    if (value->has_vector)
        return MG_OK;
    if (node->kind == MG_SCALAR_COLUMN)
        return mg_agg__lay_out(state->memory, &state->stores[node->column], state->types[node->column], value, err);
    uint8_t *slot = slot_of(state, at);
    mg_agg__widen(value->ints, state->row_count, node->storage, slot);
    value->vector = (struct mg_vector){.type = node->storage,
                                       .row_count = state->row_count,
                                       .null_count = value->null_count,
                                       .validity = value->validity,
                                       .values = slot};
    value->has_vector = true;
    return MG_OK;
}
