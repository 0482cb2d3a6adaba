/* clock.h -- time through a seam: the machine's clocks, or a test's.
 *
 * wall is for people and leases that must survive a restart; mono is for durations and deadlines inside a process.
 * Threads  any. A test clock guards itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_CLOCK_H
#define MG_BASE_CLOCK_H

#include <stdint.h>

struct mg_clock {
    int64_t (*wall_ms)(struct mg_clock *clock); /* unix time */
    int64_t (*mono_ns)(struct mg_clock *clock); /* rises, from an arbitrary start */
};

/* The machine's. */
struct mg_clock *mg_clock_system(void);
static inline int64_t mg_wall_ms(struct mg_clock *clock) { return clock->wall_ms(clock); }
static inline int64_t mg_mono_ns(struct mg_clock *clock) { return clock->mono_ns(clock); }
static inline int64_t mg_mono_ms(struct mg_clock *clock) { return clock->mono_ns(clock) / 1000000; }

/* A clock that stands until told otherwise. */
struct mg_clock_manual {
    struct mg_clock clock; /* first: a pointer to this is a struct mg_clock * */
    _Atomic int64_t now_ns;
    int64_t wall_base_ms;
};
void mg_clock_manual_init(struct mg_clock_manual *manual, int64_t wall_ms);
void mg_clock_manual_advance(struct mg_clock_manual *manual, int64_t ns);

/* "2026-11-21T10:24:11.123Z" into text, which has room for 32 bytes. */
void mg_format_time(int64_t wall_ms, char text[32]);

#endif
