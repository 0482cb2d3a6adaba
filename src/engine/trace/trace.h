/* trace.h -- an engine that hands every call on to another one and says so: name, arguments, result, microseconds.
 *
 * Threads  as the engine that is wrapped; lines are given out on the thread of the call, after it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_TRACE_TRACE_H
#define MG_ENGINE_TRACE_TRACE_H

#include "engine/engine.h"

/* The table of functions that wraps under's, named "trace:" and its name: one for each `under`, for good, and at most
 * MG_TRACE_MAX of them (NULL beyond). Opened and used like any engine. Not to be called from several threads at
 * once. */
enum { MG_TRACE_MAX = 4 };
const struct mg_engine_ops *mg_trace_of(const struct mg_engine_ops *under);

/* Where lines go, without an end of line; NULL: to the log, as INFO of the room "trace". Set it while no traced engine
 * is open. */
typedef void mg_trace_fn(void *arg, const char *line);
void mg_trace_to(mg_trace_fn *fn, void *arg);

#endif
