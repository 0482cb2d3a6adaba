/* log.h -- one line an event: time, level, room, thread, text with key=value and units. Nothing per row.
 *
 * Only programs and long-lived services (server, syncer, grpc loops) log; libraries return errors.
 * Threads  any; a line is written with one write(2).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_LOG_H
#define MG_BASE_LOG_H

enum mg_log_level { MG_LOG_DEBUG, MG_LOG_INFO, MG_LOG_WARN, MG_LOG_ERROR };

/* Lines below level are dropped. Default: INFO to standard error. */
void mg_log_set_level(enum mg_log_level level);
/* -1 for a name that is none of debug, info, warn, error. */
int mg_log_level_from_name(const char *name);
void mg_log(enum mg_log_level level, const char *room, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
