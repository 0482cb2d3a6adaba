/* sorter_internal.h -- what the applying half (sorter.c) and the settling half (settle.c) of the sorter share.
 *
 * Not for other rooms.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SYNCER_SORTER_INTERNAL_H
#define MG_SYNCER_SORTER_INTERNAL_H

#include "base/lock.h"
#include "syncer/sorter/sorter.h"
#include "syncer/sorter/ts_map.h"

enum mg_sorter__state {
    MG_SORTER__OPEN,    /* its end is not known: in the list of open ones */
    MG_SORTER__WAITING, /* committed: in the heap, until W reaches it */
    MG_SORTER__LATE,    /* its end is not known or comes too late: in the list of late ones */
};

/* One transaction, from its P to the moment when it is given out. Owns payload and tables. */
struct mg_sorter__txn {
    uint64_t start_ts, commit_ts, floor_ts;
    uint64_t seq; /* of its P */
    int64_t received_ms, read_ns;
    enum mg_sorter__state state;
    bool doubtful;
    struct mg_sorter__txn *kept_before, *kept_after; /* all that are held, by seq */
    struct mg_sorter__txn *list_before, *list_after; /* open or late ones, by seq */
    uint8_t *payload;                                /* NULL: read it again from the buffer */
    size_t payload_size;                             /* bytes */
    struct mg_txn_tables *tables;                    /* NULL: look into the payload */
    int64_t ask_ns;                                  /* settling: not before */
    uint32_t absent;                                 /* settling: so many answers in a row said "neither" */
};

struct mg_sorter__list {
    struct mg_sorter__txn *first, *last;
    uint32_t count;
};

/* A question to the store, and its answer. Owns key. */
struct mg_sorter__question {
    uint64_t start_ts, seq, floor_ts;
    bool doubtful;
    int64_t open_ms;
    uint8_t *key;
    size_t key_size;
};

enum { MG_SORTER__QUESTIONS_MAX = 64, MG_SORTER__OUTLINE_MAX = 8 << 20 };

struct mg_sorter__verdict {
    uint64_t start_ts, commit_ts;
    int verdict; /* enum mg_settle_verdict */
};

struct mg_sorter {
    struct mg_sorter_options options; /* defaults filled in */
    struct mg_buffer_cursor *cursor;
    struct mg_buffer read_outline;  /* of the record that is read, if it is not in memory */
    struct mg_buffer_cursor *spool; /* at the current transaction's P, when it is read again */
    struct mg_buffer outline;       /* of that, if it is not in memory */
    struct mg_sorter__txn *current; /* given out last: ends with the next call */
    bool crowded;                   /* so many transactions wait that nothing more is read */
    struct mg_thread settling;

    struct mg_mutex lock; /* guards all that follows */
    struct mg_cond wake;  /* to the settling thread: closing */
    bool closing;
    struct mg_watermark *watermark;
    struct mg_ts_map by_start;
    struct mg_sorter__list kept, open, late;
    struct mg_sorter__txn **heap; /* waiting ones, the lowest commit_ts first */
    size_t heap_count, heap_capacity;
    size_t kept_bytes;
    uint64_t read_seq, read_ordinal;                              /* the last record that was read */
    int64_t read_ns;                                              /* when; monotonic */
    uint64_t taken;                                               /* W of the last poll */
    struct mg_sorter__verdict verdicts[MG_SORTER__QUESTIONS_MAX]; /* from the settling thread, not yet followed */
    uint32_t verdict_count;
    uint64_t oracle_ts, oracle_seq; /* from the settling thread; 0: none */
    int64_t peer_start_ms;
    uint64_t settled, lost, orphans;
};

/* The key and the tables of a P's payload. */
void mg_sorter__settle_main(void *arg);
struct mg_sorter__txn *mg_sorter__find(struct mg_sorter *sorter, uint64_t start_ts) MG_REQUIRES(&sorter->lock);

#endif
