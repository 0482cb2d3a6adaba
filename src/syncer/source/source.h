/* source.h -- a stream of changes of some kind, as the rest of the syncer sees it.
 *
 * A source hands raw records to the buffer as fast as its peer sends them and answers the peer when they are durable.
 * It knows its own oracle (timestamps), how to ask what became of an open transaction, and where schemas are told. One
 * const table of functions per kind; this version has `pump`: we serve TiDB's Pump service on a unix socket.
 * Threads  open, start, stop, close: the syncer's owner. oracle, settle, schema: any one thread each, they block.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SOURCE_H
#define MG_SYNCER_SOURCE_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/arena.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/error.h"

struct mg_source_ops;
struct mg_buffer_log; /* buffer/buffer_log.h */

struct mg_source {
    const struct mg_source_ops *ops;
};

struct mg_source_options {
    const char *name;       /* "tidb": the store's name of this source */
    const char *listen;     /* pump: "unix:/run/magic/pump.sock" or HOST:PORT */
    const char *status_url; /* "http://127.0.0.1:10080" */
    const char *sql_host;   /* oracle and names; NULL = no SQL: idle time is not followed */
    uint16_t sql_port;
    const char *sql_user, *sql_password; /* NULL = "root", "" */
    uint64_t cluster_id;                 /* 0 = take the first one that comes, and keep it in the buffer's folder */
    size_t message_max;                  /* 0 = 1 GiB */
    struct mg_buffer_log *buffer;
    struct mg_clock *clock;
    /* Of messages under way, and nothing else. A share, so that no other use of memory can keep the source from being
     * answered; with room for one of message_max and MG_GRPC_MESSAGE_EXTRA, or that one is never taken. NULL: not
     * limited. */
    struct mg_budget *budget;
};

/* What became of a transaction whose end is not known. */
enum mg_fate {
    MG_FATE_COMMITTED,   /* commit_ts is set */
    MG_FATE_ROLLED_BACK, /* the store says so */
    MG_FATE_LOCKED,      /* still under way: ask again later */
    MG_FATE_ABSENT,      /* neither lock nor record */
    MG_FATE_UNKNOWN,     /* could not be asked now */
};
struct mg_settlement {
    enum mg_fate fate;
    uint64_t commit_ts;
    /* false: a store that forgets which transaction wrote a row when its process ends uncleanly */
    bool versions_trusted;
    bool any_version; /* the key has versions, of whatever transaction */
    bool older_kept;  /* one of them is older than the transaction: so its own was not collected as garbage */
};

struct mg_source_health {
    bool peer_connected; /* somebody speaks to us */
    bool status_reachable;
    int64_t peer_start_time; /* the server's start time as its status port tells; 0 = unknown */
    char binlog_status[32];  /* "On", "Off", "Skipping", ""; not On: rows are missing */
};

struct mg_source_ops {
    const char *name;
    enum mg_code (*open)(const struct mg_source_options *options, struct mg_source **out, struct mg_error *err);
    /* Listen and take records from now on. */
    enum mg_code (*start)(struct mg_source *source, struct mg_error *err);
    /* Take no more; running calls are answered. */
    void (*stop)(struct mg_source *source);
    void (*close)(struct mg_source *source);

    /* A timestamp that the source's own oracle gives out now. MG_UNAVAILABLE when it cannot be asked. Blocks up to
     * timeout_ms. */
    enum mg_code (*oracle)(struct mg_source *source, int64_t timeout_ms, uint64_t *out_ts, struct mg_error *err);
    /* Ask the store about the transaction with this start_ts by its prewrite key. */
    enum mg_code (*settle)(struct mg_source *source, uint64_t start_ts, struct mg_slice prewrite_key,
                           struct mg_settlement *out, struct mg_error *err);
    enum mg_code (*health)(struct mg_source *source, struct mg_source_health *out, struct mg_error *err);
    /* Schema texts (JSON), as the pump kind's /ddl/history and /schema give them: path is the part behind the status
     * address, for example "/ddl/history?start_job_id=120&limit=1". The answer lives in the arena. MG_NOT_FOUND for
     * 404. */
    enum mg_code (*fetch)(struct mg_source *source, const char *path, struct mg_arena *arena, struct mg_slice *out,
                          struct mg_error *err);
};

extern const struct mg_source_ops mg_source_pump;

#endif
