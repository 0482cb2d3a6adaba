/* slack.c -- memory that the process has beyond what is accounted for, given back when it grows.
 *
 * Rows, blocks and merges come and go in pieces of a hundred kilobytes that live for different times, so that the
 * allocator keeps gaps; under a limit of 2 GiB they were up to 0.9. The slack is the anonymous memory less what the
 * root account has reserved. Its least is what nobody counts and no call gives back (stacks, small things); when it is
 * above that by a SHARE of the limit, gaps are given back.
 * Looked at by all lanes of the maintenance, between rounds and between the batches of a merge, every LOOK_EVERY_MS.
 * Cost     two system calls a look; a page that is given back and needed again costs a fault, 20 ns a row.
 * Threads  any; whoever takes the turn looks (slack.look_at_ms).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/resident.h"
#include "engine/magic/magic_internal.h"

enum { LOOK_EVERY_MS = 50, SHARE = 16 };

static bool takes_turn(struct mg_slack *slack)
{
    int64_t now = mg_mono_ms(mg_clock_system()), at = atomic_load_explicit(&slack->look_at_ms, memory_order_relaxed);

    return now >= at && atomic_compare_exchange_strong(&slack->look_at_ms, &at, now + LOOK_EVERY_MS);
}

static size_t slack_of(const struct mg_budget *root)
{
    size_t held = mg_resident_bytes(), used = mg_budget_used(root);

    return held > used ? held - used : 0;
}

void mg_slack__look(struct mg_magic *magic)
{
    struct mg_slack *slack = &magic->slack;
    struct mg_budget *root = mg_budget_root(magic->readers);
    size_t limit = root ? mg_budget_limit(root) : SIZE_MAX;

    if (limit == SIZE_MAX || !takes_turn(slack))
        return;
    size_t now = slack_of(root), least = atomic_load_explicit(&slack->least_bytes, memory_order_relaxed);
    if (now > least && now - least > limit / SHARE) {
        mg_resident_trim();
        least = slack_of(root);
    }
    atomic_store_explicit(&slack->least_bytes, MG_MIN(now, least), memory_order_relaxed);
}
