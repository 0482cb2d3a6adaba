/* stop.c -- what happens at a stop point: counts passes and does what the environment or a test asked for.
 *
 * Threads  set up before threads start (mg_stop_init) or between the steps of a unit test (mg_stop_hook); passing is
 *          lock-free, so that a point may stand under any lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/stop.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

static const char *const names[] = {
#define MG_X(name, sentence) name,
#include "base/stops.def"
#undef MG_X
};
enum { NAME_COUNT = MG_COUNT_OF(names), ORDER_MAX = 32, EXIT_STATUS = 3 };

enum action { ACTION_KILL, ACTION_EXIT, ACTION_SLEEP, ACTION_HOOK };

/* "At the pass-th pass of this name do that": one entry of MAGIC_STOP. */
struct order {
    int name_index;
    uint64_t pass;
    enum action action;
    int64_t sleep_ms;
};

_Atomic bool mg_stop_armed;
static struct order orders[ORDER_MAX];
static int order_count;
static int trace_fd = -1;
static _Atomic uint64_t passes[NAME_COUNT];
static void (*_Atomic hook_fn)(void *arg, const char *name);
static void *_Atomic hook_arg;

static int find_name(const char *name, size_t size)
{
    for (int i = 0; i < NAME_COUNT; i++)
        if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0)
            return i;
    return -1;
}

static void call_hook(const char *name)
{
    void (*fn)(void *, const char *) = atomic_load(&hook_fn);
    if (fn)
        fn(atomic_load(&hook_arg), name);
}

static void trace(const char *name)
{
    char line[80];
    int size = snprintf(line, sizeof line, "%s\n", name);
    if (write(trace_fd, line, (size_t)size) != size)
        mg_assert(!"the stop trace can be written");
}

void mg_stop_pass(const char *name)
{
    int index = find_name(name, strlen(name));
    mg_assert(index >= 0); /* every stop point is listed in stops.def */
    uint64_t pass = atomic_fetch_add(&passes[index], 1) + 1;
    if (pass == 1 && trace_fd >= 0)
        trace(name);
    if (order_count == 0)
        call_hook(name);
    for (int i = 0; i < order_count; i++) {
        const struct order *order = &orders[i];
        if (order->name_index != index || order->pass != pass)
            continue;
        switch (order->action) {
        case ACTION_KILL:
            kill(getpid(), SIGKILL);
            for (;;)
                pause();
        case ACTION_EXIT: _exit(EXIT_STATUS);
        case ACTION_SLEEP: {
            struct timespec ts = {.tv_sec = (time_t)(order->sleep_ms / 1000),
                                  .tv_nsec = (long)(order->sleep_ms % 1000) * 1000000};
            nanosleep(&ts, NULL);
            break;
        }
        case ACTION_HOOK: call_hook(name); break;
        }
    }
}

/* Parse "name:N:action" of `size` bytes; returns what is wrong or NULL. */
static const char *parse_order(const char *text, size_t size, struct order *out)
{
    const char *end = text + size;
    const char *colon = memchr(text, ':', size);
    if (!colon)
        return "MAGIC_STOP: an entry is name:N:action";
    out->name_index = find_name(text, (size_t)(colon - text));
    if (out->name_index < 0)
        return "MAGIC_STOP: a name is not in stops.def";
    char *after;
    out->pass = strtoull(colon + 1, &after, 10);
    if (out->pass == 0 || after >= end || *after != ':')
        return "MAGIC_STOP: N is a number from 1, then a colon and an action";
    const char *action = after + 1;
    size_t action_size = (size_t)(end - action);
    if (action_size == 4 && memcmp(action, "kill", 4) == 0) {
        out->action = ACTION_KILL;
    } else if (action_size == 4 && memcmp(action, "exit", 4) == 0) {
        out->action = ACTION_EXIT;
    } else if (action_size == 4 && memcmp(action, "hook", 4) == 0) {
        out->action = ACTION_HOOK;
    } else if (action_size > 5 && memcmp(action, "sleep", 5) == 0) {
        out->action = ACTION_SLEEP;
        out->sleep_ms = strtoll(action + 5, &after, 10);
        if (after != end || out->sleep_ms < 0)
            return "MAGIC_STOP: sleep is followed by milliseconds, as in sleep250";
    } else {
        return "MAGIC_STOP: an action is kill, exit, hook or sleepMS";
    }
    return NULL;
}

const char *mg_stop_init(void)
{
    order_count = 0;
    for (int i = 0; i < NAME_COUNT; i++)
        atomic_store(&passes[i], 0);
    const char *text = getenv("MAGIC_STOP");
    while (text && *text) {
        size_t size = strcspn(text, ",");
        if (order_count == ORDER_MAX)
            return "MAGIC_STOP: too many entries";
        const char *wrong = parse_order(text, size, &orders[order_count]);
        if (wrong)
            return wrong;
        order_count++;
        text += size + (text[size] == ',');
    }
    const char *trace_path = getenv("MAGIC_STOP_TRACE");
    if (trace_fd >= 0)
        close(trace_fd);
    trace_fd = -1;
    if (trace_path && *trace_path) {
        trace_fd = open(trace_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (trace_fd < 0)
            return "MAGIC_STOP_TRACE: the file cannot be written";
    }
    atomic_store(&mg_stop_armed, order_count > 0 || trace_fd >= 0);
    return NULL;
}

void mg_stop_hook(void (*fn)(void *arg, const char *name), void *arg)
{
    atomic_store(&hook_arg, arg);
    atomic_store(&hook_fn, fn);
    atomic_store(&mg_stop_armed, fn || order_count > 0 || trace_fd >= 0);
}

const char *const *mg_stop_names(size_t *out_count)
{
    *out_count = NAME_COUNT;
    return names;
}
