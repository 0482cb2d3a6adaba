/* grpc_internal.h -- what the files of this room share: headers, frames, messages, output, calls, connections, loops,
 * pools.
 *
 * Order of the file is the order of the arrows: later parts use earlier ones. README.md has the picture.
 * Threads  each struct says who may touch it; "I/O thread" is the thread of the loop that owns the connection.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_GRPC_GRPC_INTERNAL_H
#define MG_GRPC_GRPC_INTERNAL_H

#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/lock.h"
#include "grpc/grpc.h"

enum {
    MG_GRPC__FRAME_HEAD = 5,                            /* compressed flag, u32 big endian size */
    MG_GRPC__HEADERS_MAX = 16 << 10,                    /* header list of a request, HTTP/2's count */
    MG_GRPC__STREAM_WINDOW = 1 << 20,                   /* what a client may send ahead of its handler */
    MG_GRPC__CONNECTION_WINDOW = 16 << 20,              /* given back as bytes arrive; streams bound memory */
    MG_GRPC__CONSUME_STEP = MG_GRPC__STREAM_WINDOW / 4, /* received bytes worth a wake-up of the I/O thread */
    MG_GRPC__ENCODED_MAX = 3 * MG_ERROR_TEXT_MAX,       /* grpc-message of the longest text, every byte escaped */
    MG_GRPC__PEER_MAX = 64,
};

/* ---- metadata.c: names and values of HTTP/2 headers, and gRPC's codings in them --------------------------------- */

struct mg_grpc__header {
    struct mg_grpc__header *next;
    const char *name, *value; /* terminated */
    size_t name_size, value_size;
    struct mg_slice binary; /* the decoded value of a name ending in -bin */
};

/* Lives in an arena of its owner. */
struct mg_grpc__headers {
    struct mg_grpc__header *first, *last;
    size_t count;
    size_t size_bytes; /* HTTP/2's count: name + value + 32 for each */
};

/* Copies both. MG_NO_MEMORY when the arena is full, MG_INVALID for a -bin value that is not base64. */
MG_MUST_CHECK enum mg_code mg_grpc__headers_add(struct mg_grpc__headers *headers, struct mg_arena *arena,
                                                struct mg_slice name, struct mg_slice value, struct mg_error *err);
const struct mg_grpc__header *mg_grpc__headers_find(const struct mg_grpc__headers *headers, const char *name);
/* As add, for what our side sends: MG_INVALID for names and values that HTTP/2 or gRPC forbids. */
MG_MUST_CHECK enum mg_code mg_grpc__headers_add_own(struct mg_grpc__headers *headers, struct mg_arena *arena,
                                                    const char *name, const char *value, struct mg_error *err);
/* As add_own for a name ending in -bin; the value is base64-coded here. */
MG_MUST_CHECK enum mg_code mg_grpc__headers_add_binary(struct mg_grpc__headers *headers, struct mg_arena *arena,
                                                       const char *name, struct mg_slice value, struct mg_error *err);
/* Of a request from outside: lower case, printable, no CR, LF or NUL. */
bool mg_grpc__header_valid(struct mg_slice name, struct mg_slice value);
nghttp2_nv mg_grpc__nv(const char *name, const char *value);
nghttp2_nv mg_grpc__nv_header(const struct mg_grpc__header *header);

/* grpc-message: bytes outside printable ASCII, and %, become %XX. Returns the size without the terminator. */
size_t mg_grpc__percent_encode(const char *text, char out[static MG_GRPC__ENCODED_MAX]);
/* The reverse, cut to out_size - 1 bytes; malformed escapes stay as they are. */
void mg_grpc__percent_decode(struct mg_slice text, char *out, size_t out_size);
/* grpc-timeout: 1 to 8 digits and one of H M S m u n; rounded up to milliseconds. */
bool mg_grpc__timeout_parse(struct mg_slice text, int64_t *out_ms);
void mg_grpc__timeout_format(int64_t timeout_ms, char out[16]);
/* RFC 4648, alphabet with + and /. encode pads not; decode takes padded and unpadded, false when it is neither. */
size_t mg_grpc__base64_size(size_t size); /* room that encode needs, terminator included */
size_t mg_grpc__base64_encode(struct mg_slice bytes, char *out);
bool mg_grpc__base64_decode(struct mg_slice text, uint8_t *out, size_t *out_size); /* out: 3/4 of text.size + 3 */
/* The code that fits a grpc-status without magic-code. */
enum mg_code mg_grpc__code_of_status(int status);
/* "grpc-status" as text, static. */
const char *mg_grpc__status_text(int status);

/* ---- address.c: texts to sockets ------------------------------------------------------------------------------ */

struct mg_grpc__address {
    bool is_unix;
    socklen_t size;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } socket;
};

MG_MUST_CHECK enum mg_code mg_grpc__address_parse(const char *text, struct mg_grpc__address *out, struct mg_error *err);
void mg_grpc__address_format(const struct mg_grpc__address *address, char out[128]);
/* A listening non-blocking socket; address gets the real port. */
MG_MUST_CHECK enum mg_code mg_grpc__address_listen(struct mg_grpc__address *address, int *out_fd, struct mg_error *err);
/* A connected non-blocking socket. */
MG_MUST_CHECK enum mg_code mg_grpc__address_connect(const struct mg_grpc__address *address, int64_t timeout_ms,
                                                    int *out_fd, struct mg_error *err);
/* No delay for small frames; find dead hosts. */
void mg_grpc__socket_tune(int fd, bool is_unix);

/* ---- framing.c: bytes of a stream to messages ------------------------------------------------------------------ */

/* Owned by one thread at a time. */
struct mg_grpc__framing {
    size_t message_max;       /* payload bytes of one message */
    struct mg_budget *budget; /* holds the capacity of part; may be NULL */
    uint8_t head[MG_GRPC__FRAME_HEAD];
    uint32_t head_size;    /* bytes of head that are there */
    uint32_t message_size; /* of the message in progress, once head is whole */
    struct mg_buffer part; /* the message in progress */
};

void mg_grpc__framing_init(struct mg_grpc__framing *framing, size_t message_max, struct mg_budget *budget);
void mg_grpc__framing_clear(struct mg_grpc__framing *framing);
/* Take bytes up to the end of one message: *out_used of them. *out_whole says that part holds a whole message; go on
 * with framing_next. MG_TOO_BIG, MG_UNIMPLEMENTED (compressed), MG_PROTOCOL: the stream is lost. MG_NO_MEMORY: the rest
 * may be fed again when there is some; *out_used bytes were taken. */
MG_MUST_CHECK enum mg_code mg_grpc__framing_feed(struct mg_grpc__framing *framing, struct mg_slice bytes,
                                                 size_t *out_used, bool *out_whole, struct mg_error *err);
/* The whole message in part was used: begin the next one. */
void mg_grpc__framing_next(struct mg_grpc__framing *framing);
/* part holds a message that nobody has taken yet. */
static inline bool mg_grpc__framing_whole(const struct mg_grpc__framing *framing)
{
    return framing->head_size == MG_GRPC__FRAME_HEAD && framing->part.size == framing->message_size;
}
/* In the middle of a message: the stream must not end here. */
static inline bool mg_grpc__framing_partial(const struct mg_grpc__framing *framing) { return framing->head_size > 0; }
/* Grow to at least capacity, accounted in budget. */
MG_MUST_CHECK enum mg_code mg_grpc__grow(struct mg_buffer *buffer, size_t capacity, struct mg_budget *budget,
                                         struct mg_error *err);

/* ---- inbox.c: whole messages that wait for their reader -------------------------------------------------------- */

/* One large message, or many small ones each behind a u32 size: an empty message costs 4 bytes, not an allocation. */
struct mg_grpc__batch {
    struct mg_grpc__batch *next;
    struct mg_budget *budget;
    struct mg_buffer bytes; /* its capacity is reserved in budget */
    size_t at;              /* first byte not read */
    size_t held_bytes;      /* of the stream's window, given back when the reader takes the batch */
    bool packed;            /* many small messages */
    bool read;              /* the large message was read */
};

/* Guarded by the lock of its owner. */
struct mg_grpc__inbox {
    struct mg_grpc__batch *first, *last;
    size_t held_part_bytes; /* window held by the message in progress while others wait before it */
    size_t freed_bytes;     /* window to give back */
    struct mg_buffer spare; /* memory of a large message that was read, for the next one; reserved in spare_budget */
    struct mg_budget *spare_budget;
    bool ended; /* the peer sent all */
};

/* Takes the whole message out of framing. MG_NO_MEMORY: nothing has changed. */
MG_MUST_CHECK enum mg_code mg_grpc__inbox_push(struct mg_grpc__inbox *inbox, struct mg_grpc__framing *framing,
                                               struct mg_error *err);
/* The oldest batch, or NULL; the caller frees it. */
struct mg_grpc__batch *mg_grpc__inbox_pop(struct mg_grpc__inbox *inbox);
/* A popped batch was read: its memory may serve the next large message. The caller still frees the batch. */
void mg_grpc__inbox_keep(struct mg_grpc__inbox *inbox, struct mg_grpc__batch *batch);
/* Window to give back now; resets it. */
size_t mg_grpc__inbox_consume(struct mg_grpc__inbox *inbox);
/* Memory that is only kept for the next message. */
void mg_grpc__inbox_trim(struct mg_grpc__inbox *inbox);
void mg_grpc__inbox_clear(struct mg_grpc__inbox *inbox);
/* false: nothing left in it. */
bool mg_grpc__batch_next(struct mg_grpc__batch *batch, struct mg_slice *out);
void mg_grpc__batch_free(struct mg_grpc__batch *batch); /* NULL is allowed */

/* ---- message.c: a message on its way out ----------------------------------------------------------------------- */

/* Made by the sender; from the moment it is queued owned by the I/O thread, or by the client's thread. */
struct mg_grpc__message {
    struct mg_grpc__message *next;
    void (*gone)(void *owner, struct mg_grpc__message *message); /* called last, before it is freed; may be NULL */
    void *owner;
    mg_grpc_release *release; /* may be NULL */
    void *release_arg;
    struct mg_budget *budget; /* holds accounted_bytes */
    size_t accounted_bytes;   /* of copied pieces */
    size_t size_bytes;        /* on the wire, frame head included */
    uint32_t refs;            /* the list it is in, and each piece in an output */
    int piece, piece_count;   /* next to take */
    size_t offset;            /* in that piece */
    uint8_t head[MG_GRPC__FRAME_HEAD];
    struct iovec pieces[]; /* the first one is head; copied bytes stand behind them */
};

/* release is called in every case: here when it fails, else when the last reference is gone. */
MG_MUST_CHECK enum mg_code mg_grpc__message_new(const struct iovec *pieces, int piece_count, mg_grpc_release *release,
                                                void *release_arg, struct mg_budget *budget,
                                                struct mg_grpc__message **out, struct mg_error *err);
void mg_grpc__message_unref(struct mg_grpc__message *message);
void mg_grpc__messages_drop(struct mg_grpc__message *list);

/* ---- output.c: what waits for a socket ------------------------------------------------------------------------- */

struct mg_grpc__output_block;

/* Owned by the thread of its connection. Small bytes are copied, large pieces of messages are pointed to. */
struct mg_grpc__output {
    struct mg_grpc__output_block *block; /* NULL while nothing waits */
    size_t size_bytes;
    bool failed; /* no memory for a block */
};

enum mg_grpc__flushed { MG_GRPC__FLUSHED, MG_GRPC__FLUSH_BLOCKED, MG_GRPC__FLUSH_FAILED };

/* As many of the bytes as there is room for; fewer means full. */
size_t mg_grpc__output_copy(struct mg_grpc__output *output, const uint8_t *bytes, size_t size);
/* Room for a frame of 16 KiB in any number of pieces. */
bool mg_grpc__output_has_room(struct mg_grpc__output *output);
/* The next size bytes of a list of messages, which has them; whole ones leave the list. */
void mg_grpc__output_take(struct mg_grpc__output *output, struct mg_grpc__message **list, size_t size);
/* Send what the socket takes. */
enum mg_grpc__flushed mg_grpc__output_flush(struct mg_grpc__output *output, int fd);
void mg_grpc__output_clear(struct mg_grpc__output *output);

/* ---- timers.c: what happens at a time -------------------------------------------------------------------------- */

/* Part of what it wakes; owned by the loop's thread. */
struct mg_grpc__timer {
    int64_t at_ms; /* monotonic */
    size_t place;  /* in the heap, from 1; 0: not set */
    void (*fire)(struct mg_grpc__timer *timer);
};

/* A binary heap, soonest first. */
struct mg_grpc__timers {
    struct mg_grpc__timer **heap; /* heap[1] is the first */
    size_t count, capacity;
};

MG_MUST_CHECK enum mg_code mg_grpc__timer_set(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer,
                                              int64_t at_ms, struct mg_error *err);
void mg_grpc__timer_clear(struct mg_grpc__timers *timers, struct mg_grpc__timer *timer);
/* Clears and fires those at or before now_ms. */
void mg_grpc__timers_fire(struct mg_grpc__timers *timers, int64_t now_ms);
int64_t mg_grpc__timers_next(const struct mg_grpc__timers *timers); /* INT64_MAX: none */
void mg_grpc__timers_free(struct mg_grpc__timers *timers);

/* ---- call.c: one call ------------------------------------------------------------------------------------------ */

struct mg_grpc__connection;
struct mg_grpc__loop;

/* What the client sent and nobody had memory for: at most a stream's window, as none is given back meanwhile. */
struct mg_grpc__held {
    struct mg_buffer bytes; /* its capacity is reserved in the server's held_memory */
    int64_t since_ms;       /* 0: nothing waits */
    struct mg_grpc__timer retry;
};

/* The picture and the table of transitions are in call.c. */
enum mg_grpc__phase {
    MG_GRPC__OPENING, /* request headers arrive */
    MG_GRPC__WAITING, /* for the first message, or all of an async call */
    MG_GRPC__QUEUED,  /* for a worker */
    MG_GRPC__RUNNING, /* a handler has it */
    MG_GRPC__ENDING,  /* how it ends is known; output may be on its way */
    MG_GRPC__CLOSED,  /* no stream and no handler */
};

struct mg_grpc_call {
    /* Set before a handler sees it, then immutable. */
    struct mg_grpc_server *server;
    struct mg_grpc__loop *loop;
    const struct mg_grpc_method *method;
    struct mg_grpc__headers headers; /* of the request, in arena */
    int64_t deadline_ms;
    char peer[MG_GRPC__PEER_MAX];

    /* I/O thread. */
    struct mg_grpc__connection *connection; /* NULL once the stream is closed */
    struct mg_grpc_call *previous, *next;   /* calls of the connection */
    int32_t stream_id;
    bool malformed;     /* a header breaks HTTP/2 or gRPC */
    bool too_large;     /* the header list */
    bool pseudo_over;   /* a regular header was seen */
    bool request_ended; /* END_STREAM from the client */
    bool async_whole;   /* the request of an async call is in framing.part */
    bool begun;         /* response headers are submitted */
    bool deferred;      /* the data source waits for resume */
    bool finished;      /* nothing comes behind `sending` but the status */
    bool status_sent;   /* trailers are submitted: nothing can follow */
    struct mg_grpc__framing framing;
    struct mg_grpc__timer deadline;
    struct mg_grpc__held held;
    struct mg_grpc__message *sending, **sending_end;
    size_t sending_bytes;

    /* The handler's thread while RUNNING. */
    struct mg_arena arena;
    struct mg_grpc__headers response_headers, response_trailers;
    struct mg_grpc__batch *taken; /* lent to the handler */
    bool sent;                    /* headers cannot be added any more */

    /* In a pool's queue; guarded by the pool's lock. */
    struct mg_grpc_call *queue_previous, *queue_next;
    bool queued;

    /* In a loop's mailbox; guarded by the loop's lock. */
    struct mg_grpc_call *mail_next;
    bool mailed;

    atomic_uint refs;               /* the stream, the handler, the mailbox, each message */
    _Atomic(enum mg_code) ended_by; /* not MG_OK: it ended before its time; written under lock */

    int64_t patience_ms; /* the handler's: how long it waits for a message; 0: for ever */

    struct mg_mutex lock; /* MG_RANK_GRPC_CALL: what follows */
    struct mg_cond changed;
    enum mg_grpc__phase phase;
    struct mg_grpc__inbox inbox;
    struct mg_grpc__message *out, **out_end; /* sent by the handler, not yet seen by the I/O thread */
    size_t out_bytes;                        /* of out, sending and what waits for the socket */
    int status;                              /* while ENDING */
    enum mg_code code;
    char text[MG_ERROR_TEXT_MAX]; /* why, also for ended_by */
};

/* NULL when there is no memory. Holds the stream's reference. */
struct mg_grpc_call *mg_grpc__call_new(struct mg_grpc__connection *connection, int32_t stream_id);
void mg_grpc__call_ref(struct mg_grpc_call *call);
void mg_grpc__call_unref(struct mg_grpc_call *call);
void mg_grpc__call_to(struct mg_grpc_call *call, enum mg_grpc__phase phase) MG_REQUIRES(&call->lock);
/* Whole-structure check, I/O thread. */
void mg_grpc__call_check(struct mg_grpc_call *call);
/* Give it to its handler: a worker, or the async function at once. I/O thread. */
void mg_grpc__call_dispatch(struct mg_grpc_call *call);
/* On the worker's thread. */
void mg_grpc__call_run(struct mg_grpc_call *call);
/* Not as the handler planned: tell the handler, and the client if it is there. I/O thread. text may be NULL. */
void mg_grpc__call_abort(struct mg_grpc_call *call, enum mg_code code, int status, const char *text);
/* The stream is gone, in order or not. I/O thread; drops the stream's reference. */
void mg_grpc__call_stream_closed(struct mg_grpc_call *call);
/* The handler did something: take it over. I/O thread. */
void mg_grpc__call_mail(struct mg_grpc_call *call);

/* ---- held.c: bytes of a stream that wait for memory, I/O thread ------------------------------------------------ */

/* Behind those that are held already. MG_NO_MEMORY: it has waited long, or not even these bytes can be held; why is in
 * err when this is called, for the first ones. */
MG_MUST_CHECK enum mg_code mg_grpc__hold(struct mg_grpc_call *call, struct mg_slice bytes, struct mg_error *err);
static inline bool mg_grpc__is_held(const struct mg_grpc_call *call) { return call->held.since_ms != 0; }
/* They are dropped. */
void mg_grpc__held_clear(struct mg_grpc_call *call);

/* ---- request.c, response.c: the two directions of a stream, I/O thread
 * -------------------------------------------- */

void mg_grpc__request_header(struct mg_grpc_call *call, struct mg_slice name, struct mg_slice value);
void mg_grpc__request_open(struct mg_grpc_call *call);
void mg_grpc__request_data(struct mg_grpc_call *call, struct mg_slice bytes);
/* The same for a stream whose bytes wait in held.c: *out_taken of them found memory, MG_NO_MEMORY: not all. */
MG_MUST_CHECK enum mg_code mg_grpc__request_deliver(struct mg_grpc_call *call, struct mg_slice bytes, size_t *out_taken,
                                                    struct mg_error *err);
/* A stream that cannot be read any further. */
void mg_grpc__request_give_up(struct mg_grpc_call *call, enum mg_code code, const struct mg_error *err);
void mg_grpc__request_end(struct mg_grpc_call *call);
/* Submit or resume as what is there allows. */
void mg_grpc__response_continue(struct mg_grpc_call *call);
/* The status now, whatever waits to be sent. */
void mg_grpc__response_status(struct mg_grpc_call *call, int status, enum mg_code code, const char *text);
/* A refusal of HTTP, not gRPC: ":status 415". */
void mg_grpc__response_http(struct mg_grpc_call *call, const char *http_status);

/* ---- connection.c: one HTTP/2 session ---------------------------------------------------------------------------- */

struct mg_grpc__connection {
    struct mg_grpc__loop *loop;
    struct mg_grpc__connection *previous, *next; /* of the loop */
    struct mg_grpc__connection *dirty_next;      /* of those that may have something to send */
    bool dirty;
    int fd;           /* -1: none, output is dropped (fuzzing) */
    bool wants_out;   /* epoll is asked for EPOLLOUT */
    bool broken;      /* to be closed by the next who may */
    bool greeted;     /* the client's first SETTINGS came */
    bool last_goaway; /* the second GOAWAY is submitted */
    bool draining;
    nghttp2_session *session;
    struct mg_grpc__output output;
    struct mg_grpc_call *calls;
    uint32_t call_count;
    struct mg_grpc__timer timer; /* handshake, keepalive, idle, drain */
    int64_t opened_ms, last_read_ms, last_call_ms, ping_ms, drain_ms;
    char peer[MG_GRPC__PEER_MAX];
};

/* Takes fd over in every case. */
MG_MUST_CHECK enum mg_code mg_grpc__connection_open(struct mg_grpc__loop *loop, int fd, const char *peer,
                                                    struct mg_grpc__connection **out, struct mg_error *err);
/* Cancels its calls and frees it. */
void mg_grpc__connection_close(struct mg_grpc__connection *connection);
/* Bytes from the client. Sets broken when it must be closed. */
void mg_grpc__connection_feed(struct mg_grpc__connection *connection, struct mg_slice bytes);
/* Read what the socket has, bounded. Sets broken. */
void mg_grpc__connection_read(struct mg_grpc__connection *connection);
/* Send what there is, bounded; true: there is more and the socket takes it. Sets broken. */
bool mg_grpc__connection_flush(struct mg_grpc__connection *connection);
/* There may be something to send. */
void mg_grpc__connection_dirty(struct mg_grpc__connection *connection);
/* GOAWAY: first "soon", then, after a round trip or when last is set, "now". */
void mg_grpc__connection_drain(struct mg_grpc__connection *connection, bool last);

/* ---- loop.c: an I/O thread
 * ---------------------------------------------------------------------------------------- */

enum mg_grpc__stage { MG_GRPC__SERVING, MG_GRPC__DRAINING, MG_GRPC__CANCELLING, MG_GRPC__STOPPING };

struct mg_grpc__newcomer; /* an accepted socket on its way to a loop */

struct mg_grpc__loop {
    struct mg_grpc_server *server;
    struct mg_thread thread;
    int epoll_fd, wake_fd;

    /* Its thread's. */
    struct mg_grpc__connection *connections;
    struct mg_grpc__connection *dirty, **dirty_end;
    struct mg_grpc__timers timers;
    enum mg_grpc__stage reached;
    int64_t stop_ms; /* when STOPPING was reached */
    uint8_t *input;

    struct mg_mutex lock; /* MG_RANK_GRPC_LOOP: the mailbox */
    struct mg_grpc_call *mail, **mail_end;
    struct mg_grpc__newcomer *newcomers;
    enum mg_grpc__stage stage;
    bool asleep; /* a post must write wake_fd */
};

MG_MUST_CHECK enum mg_code mg_grpc__loop_init(struct mg_grpc__loop *loop, struct mg_grpc_server *server,
                                              struct mg_error *err);
void mg_grpc__loop_destroy(struct mg_grpc__loop *loop);
void mg_grpc__loop_run(void *loop); /* thread main */
/* Any thread; the caller may hold the call's lock. */
void mg_grpc__loop_post(struct mg_grpc__loop *loop, struct mg_grpc_call *call);
/* As post for many calls of this loop linked by queue_next: one lock, one wake-up. */
void mg_grpc__loop_post_list(struct mg_grpc__loop *loop, struct mg_grpc_call *list);
void mg_grpc__loop_stage(struct mg_grpc__loop *loop, enum mg_grpc__stage stage);
/* Takes fd over. */
void mg_grpc__loop_adopt(struct mg_grpc__loop *loop, int fd, const char *peer);
/* One round over the mailbox without waiting; for loop_run and fuzzing. */
void mg_grpc__loop_drain(struct mg_grpc__loop *loop);
int64_t mg_grpc__loop_now(const struct mg_grpc__loop *loop);

/* ---- worker.c: bounded pools of threads for handlers ------------------------------------------------------------- */

struct mg_grpc__pool {
    const char *name; /* of its threads */
    uint32_t thread_max;
    uint32_t pending_max;

    struct mg_mutex lock; /* MG_RANK_LEAF: what follows */
    struct mg_cond wake;
    struct mg_thread *threads;
    uint32_t thread_count, idle_count, pending_count;
    struct mg_grpc_call *first, *last;
    bool stopping;
};

MG_MUST_CHECK enum mg_code mg_grpc__pool_init(struct mg_grpc__pool *pool, const char *name, uint32_t thread_max,
                                              struct mg_error *err);
/* Ends when its queue is empty; joins. */
void mg_grpc__pool_stop(struct mg_grpc__pool *pool);
void mg_grpc__pool_destroy(struct mg_grpc__pool *pool);
/* MG_BUSY when too many wait. */
MG_MUST_CHECK enum mg_code mg_grpc__pool_submit(struct mg_grpc__pool *pool, struct mg_grpc_call *call,
                                                struct mg_error *err);
/* false: a worker has it, or it is not there. */
bool mg_grpc__pool_withdraw(struct mg_grpc__pool *pool, struct mg_grpc_call *call);

/* ---- listener.c: accepts
 * ------------------------------------------------------------------------------------------ */

enum { MG_GRPC__LISTENERS_MAX = 16 };

struct mg_grpc__listener {
    int fd;
    struct mg_grpc__address address;
    dev_t device; /* of a unix socket's file, to remove only our own */
    ino_t inode;
};

/* Its thread waits in poll for all listeners and hands sockets to loops in turn. */
struct mg_grpc__acceptor {
    struct mg_grpc_server *server;
    struct mg_thread thread;
    int wake_fd;
    int spare_fd; /* given up for a moment when descriptors run out; its thread's */

    struct mg_mutex lock; /* MG_RANK_LEAF: what follows */
    struct mg_grpc__listener listeners[MG_GRPC__LISTENERS_MAX];
    int listener_count;
    bool stopping;
};

MG_MUST_CHECK enum mg_code mg_grpc__acceptor_init(struct mg_grpc__acceptor *acceptor, struct mg_grpc_server *server,
                                                  struct mg_error *err);
MG_MUST_CHECK enum mg_code mg_grpc__acceptor_listen(struct mg_grpc__acceptor *acceptor, const char *address,
                                                    char out_address[128], struct mg_error *err);
void mg_grpc__acceptor_run(void *acceptor);                      /* thread main */
void mg_grpc__acceptor_stop(struct mg_grpc__acceptor *acceptor); /* joins; closes and removes the listeners */
void mg_grpc__acceptor_destroy(struct mg_grpc__acceptor *acceptor);

/* ---- server.c
 * ------------------------------------------------------------------------------------------------------ */

struct mg_grpc_server {
    struct mg_grpc_server_options options; /* zeros replaced by defaults; methods copied */
    struct mg_grpc_method *methods;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *http2;
    struct mg_grpc__acceptor acceptor;
    struct mg_grpc__loop *loops;
    uint32_t loop_count; /* initialised ones */
    atomic_uint next_loop;
    struct mg_grpc__pool calls, streams;
    bool started, stopped;        /* the owner's thread */
    struct mg_budget held_memory; /* of streams that wait for memory */
    atomic_uint connection_count;
    atomic_uint call_count; /* structs that exist */
    atomic_size_t queued_bytes;

    struct mg_mutex lock; /* MG_RANK_LEAF: what follows */
    struct mg_cond quiet; /* a count fell to 0 */
    uint32_t handler_count;
};

const struct mg_grpc_method *mg_grpc__server_method(const struct mg_grpc_server *server, const char *path);
void mg_grpc__server_handler_began(struct mg_grpc_server *server);
void mg_grpc__server_handler_ended(struct mg_grpc_server *server);
void mg_grpc__server_call_gone(struct mg_grpc_server *server);
/* connection.c: what nghttp2 calls. */
MG_MUST_CHECK enum mg_code mg_grpc__callbacks_new(nghttp2_session_callbacks **out, struct mg_error *err);

#endif
