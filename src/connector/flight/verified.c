/* verified.c -- tables whose changes contradicted what is stored, for lists of tables and for lag.
 *
 * What is told is of now, whatever snapshot is asked about: a contradiction says that a table may be wrong, not since
 * when it shows.
 * Threads  the handler's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "connector/flight/flight_internal.h"
#include "engine/verify.h"

enum { REASON_MAX = MG_VERIFY_TEXT_MAX + 128 };

/* ---- one table ---- */

struct telling {
    struct mg_arena *arena;
    Magic__V1__TableInfo *info; /* NULL: only reason */
    char *reason;               /* NULL: nothing contradicted */
};

static enum mg_code tell_table(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                               struct mg_error *err)
{
    struct telling *telling = arg;
    Magic__V1__TableInfo *info = telling->info;
    char text[REASON_MAX];

    (void)schema;
    if (info) {
        info->verify_failed = mg_verify_failed(verify);
        info->verify_compared = verify->compared_count;
        info->verify_told = mg_arena_array(telling->arena, char *, MG_VERIFY_TOLD_MAX);
        if (!info->verify_told)
            return mg_arena_fail(telling->arena, err);
    }
    for (uint32_t i = 0; info && i < verify->told_count; i++) {
        info->verify_told[i] = mg_arena_text(telling->arena, mg_slice_text(verify->told[i].text));
        if (!info->verify_told[i])
            return mg_arena_fail(telling->arena, err);
        info->n_verify_told++;
    }
    if (mg_verify_failed(verify) == 0)
        return MG_OK;
    mg_verify_reason(verify, text, sizeof text);
    telling->reason = mg_arena_text(telling->arena, mg_slice_text(text));
    return telling->reason ? MG_OK : mg_arena_fail(telling->arena, err);
}

enum mg_code mg_flight__verified_table(struct mg_engine *engine, uint64_t table_id, struct mg_arena *arena,
                                       Magic__V1__TableInfo *info, char **out_reason, struct mg_error *err)
{
    struct telling telling = {.arena = arena, .info = info};

    MG_TRY(engine->ops->verified(engine, table_id, tell_table, &telling, err));
    *out_reason = telling.reason;
    return MG_OK;
}

/* ---- lag ---- */

struct listing {
    struct mg_arena *arena;
    Magic__V1__LagResponse *lag;
    uint32_t more;
};

static enum mg_code list_table(void *arg, const struct mg_schema *schema, const struct mg_verify *verify,
                               struct mg_error *err)
{
    struct listing *listing = arg;
    char text[REASON_MAX];

    if (mg_verify_failed(verify) == 0)
        return MG_OK;
    if (listing->lag->n_needs_verify == MG_FLIGHT__LAG_VERIFY_MAX) {
        listing->more++;
        return MG_OK;
    }
    mg_verify_reason(verify, text, sizeof text);
    char *line = mg_arena_printf(listing->arena, "%s.%s: %s", schema->database, schema->table, text);
    if (!line)
        return mg_arena_fail(listing->arena, err);
    listing->lag->needs_verify[listing->lag->n_needs_verify++] = line;
    return MG_OK;
}

enum mg_code mg_flight__verified_lag(struct mg_engine *engine, struct mg_arena *arena, Magic__V1__LagResponse *lag,
                                     struct mg_error *err)
{
    struct listing listing = {.arena = arena, .lag = lag};

    lag->needs_verify = mg_arena_array(arena, char *, MG_FLIGHT__LAG_VERIFY_MAX + 1);
    if (!lag->needs_verify)
        return mg_arena_fail(arena, err);
    MG_TRY(engine->ops->verified(engine, 0, list_table, &listing, err));
    if (listing.more == 0)
        return MG_OK;
    char *more = mg_arena_printf(arena, "%" PRIu32 " more", listing.more);
    if (!more)
        return mg_arena_fail(arena, err);
    lag->needs_verify[lag->n_needs_verify++] = more;
    return MG_OK;
}
