/* clock.c -- the machine's clocks, the clock of tests, and how a time is written.
 * Threads  any.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t system_wall_ms(struct mg_clock *clock)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_mono_ns(struct mg_clock *clock)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct mg_clock *mg_clock_system(void)
{
    static struct mg_clock system = {.wall_ms = system_wall_ms, .mono_ns = system_mono_ns};
    return &system;
}

static int64_t manual_mono_ns(struct mg_clock *clock)
{
    return atomic_load(&((struct mg_clock_manual *)clock)->now_ns);
}

static int64_t manual_wall_ms(struct mg_clock *clock)
{
    return ((struct mg_clock_manual *)clock)->wall_base_ms + manual_mono_ns(clock) / 1000000;
}

void mg_clock_manual_init(struct mg_clock_manual *manual, int64_t wall_ms)
{
    *manual = (struct mg_clock_manual){.clock = {.wall_ms = manual_wall_ms, .mono_ns = manual_mono_ns},
                                       .wall_base_ms = wall_ms};
}

void mg_clock_manual_advance(struct mg_clock_manual *manual, int64_t ns) { atomic_fetch_add(&manual->now_ns, ns); }

void mg_format_time(int64_t wall_ms, char text[32])
{
    int64_t ms = ((wall_ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((wall_ms - ms) / 1000);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        memset(&tm, 0, sizeof tm);
    char date[24];
    if (strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    snprintf(text, 32, "%s.%03dZ", date, (int)ms);
}
