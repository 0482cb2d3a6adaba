/* log.c -- lines to standard error, one write(2) each.
 * Threads  any: a line is built on the stack.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum { LINE_MAX_BYTES = 2048 };

static _Atomic int level_min = MG_LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void mg_log_set_level(enum mg_log_level level) { atomic_store(&level_min, (int)level); }

int mg_log_level_from_name(const char *name)
{
    for (int i = 0; name && i < (int)MG_COUNT_OF(level_names); i++)
        if (strcmp(level_names[i], name) == 0)
            return i;
    return -1;
}

void mg_log(enum mg_log_level level, const char *room, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
        return;
    char line[LINE_MAX_BYTES], time[32], thread[16] = "?";
    mg_format_time(mg_wall_ms(mg_clock_system()), time);
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    int head = snprintf(line, sizeof line, "%s %-5s %s %s: ", time, level_names[level], room, thread);
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + head, sizeof line - (size_t)head, format, args);
    va_end(args);
    size_t size = (size_t)head + (size_t)MG_MAX(text, 0);
    size = MG_MIN(size, sizeof line - 1);
    /* One event stays one line, whatever a peer put into a message. */
    for (size_t i = 0; i < size; i++)
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    line[size++] = '\n';
    if (write(STDERR_FILENO, line, size) < 0)
        return; /* nowhere to say so */
}
