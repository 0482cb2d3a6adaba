/* stop.h -- named points where a test can stop, kill or delay the process.
 *
 * MG_STOP("wal.synced") costs one load and a predicted branch while no test armed anything. Armed by the environment
 * variable MAGIC_STOP: "name:N:action[,name:N:action...]": at the N-th pass (1 = first) do `kill` (SIGKILL to
 * ourselves), `exit`, `sleepMS` or `hook` (call the function a unit test set). Every name is listed in stops.def; an
 * unknown name in MAGIC_STOP ends the program with an error, and a test asserts that each listed name is hit.
 * MAGIC_STOP_TRACE=FILE appends each name when it is first passed.
 * Threads  any.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_STOP_H
#define MG_BASE_STOP_H

#include <stdbool.h>
#include <stddef.h>

extern _Atomic bool mg_stop_armed;
void mg_stop_pass(const char *name);
#define MG_STOP(name)                               \
    do {                                            \
        if (__builtin_expect(mg_stop_armed, false)) \
            mg_stop_pass(name);                     \
    } while (0)

/* Reads MAGIC_STOP and MAGIC_STOP_TRACE; programs call it once before threads start. Returns a text that says what is
 * wrong, or NULL. */
const char *mg_stop_init(void);
/* For unit tests: fn(arg, name) at each pass of every point; NULL disarms. */
void mg_stop_hook(void (*fn)(void *arg, const char *name), void *arg);
/* The names of stops.def. */
const char *const *mg_stop_names(size_t *out_count);

#endif
