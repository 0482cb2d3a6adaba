/* message.c -- a message on its way out: a frame head and the sender's pieces, pointed to or copied.
 *
 * Lifetime  references are counted without atomics: once queued, a message is touched by one thread only. Whoever drops
 *           the last one calls release, exactly once.
 * Threads   owned by one thread at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "grpc/grpc_internal.h"

static enum mg_code build(const struct iovec *pieces, int piece_count, bool copy, struct mg_budget *budget,
                          struct mg_grpc__message **out, struct mg_error *err)
{
    mg_assert(piece_count >= 0);
    size_t payload = 0;
    for (int i = 0; i < piece_count; i++) {
        if (pieces[i].iov_len > UINT32_MAX - payload)
            return mg_fail(err, MG_TOO_BIG, "a message to send has more than %u bytes", UINT32_MAX);
        payload += pieces[i].iov_len;
    }
    size_t iov_count = copy ? 2 : 1 + (size_t)piece_count;
    size_t accounted = copy ? payload : 0;
    MG_TRY(mg_budget_reserve(budget, accounted, err));
    struct mg_grpc__message *message = malloc(sizeof *message + iov_count * sizeof *pieces + accounted);
    if (!message) {
        mg_budget_release(budget, accounted);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a message of %zu bytes", payload);
    }
    *message = (struct mg_grpc__message){
        .budget = budget, .accounted_bytes = accounted, .size_bytes = MG_GRPC__FRAME_HEAD + payload, .refs = 1};
    mg_store_be32(message->head + 1, (uint32_t)payload);
    message->pieces[message->piece_count++] = (struct iovec){.iov_base = message->head, .iov_len = MG_GRPC__FRAME_HEAD};
    if (copy) {
        uint8_t *at = (uint8_t *)&message->pieces[iov_count];
        if (payload)
            message->pieces[message->piece_count++] = (struct iovec){.iov_base = at, .iov_len = payload};
        for (int i = 0; i < piece_count; i++) {
            if (pieces[i].iov_len)
                memcpy(at, pieces[i].iov_base, pieces[i].iov_len);
            at += pieces[i].iov_len;
        }
    } else {
        for (int i = 0; i < piece_count; i++)
            if (pieces[i].iov_len)
                message->pieces[message->piece_count++] = pieces[i];
    }
    *out = message;
    return MG_OK;
}

enum mg_code mg_grpc__message_new(const struct iovec *pieces, int piece_count, mg_grpc_release *release,
                                  void *release_arg, struct mg_budget *budget, struct mg_grpc__message **out,
                                  struct mg_error *err)
{
    struct mg_grpc__message *message = NULL;
    enum mg_code code = build(pieces, piece_count, !release, budget, &message, err);
    if (code != MG_OK) {
        if (release)
            release(release_arg);
        return code;
    }
    message->release = release;
    message->release_arg = release_arg;
    *out = message;
    return MG_OK;
}

void mg_grpc__message_unref(struct mg_grpc__message *message)
{
    mg_assert(message->refs > 0);
    if (--message->refs > 0)
        return;
    if (message->release)
        message->release(message->release_arg);
    mg_budget_release(message->budget, message->accounted_bytes);
    if (message->gone)
        message->gone(message->owner, message);
    free(message);
}

void mg_grpc__messages_drop(struct mg_grpc__message *list)
{
    for (struct mg_grpc__message *next; list; list = next) {
        next = list->next;
        mg_grpc__message_unref(list);
    }
}
