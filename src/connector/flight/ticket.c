/* ticket.c -- tickets: what a reader holds to read one split, and its own proof.
 *
 * A ticket is {body, MAC}. Nothing about it is remembered: it can be read from any connection, as often as wanted, also
 * after a restart. The MAC is checked before anything in the body is believed, and then the body all the same, for a
 * store's key may be used by a later version of Magic that writes what this one does not know.
 * Format   docs/format/ticket.md, proto/scan.proto: Ticket, TicketBody.
 * Threads  pure functions; memory is the arena's.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "connector/flight/flight_internal.h"

enum mg_code mg_flight__ticket_write(const struct mg_latch *latch, const Magic__V1__TicketBody *body,
                                     struct mg_buffer *scratch, struct mg_slice *out, struct mg_error *err)
{
    uint8_t mac[MG_MAC_SIZE];
    Magic__V1__Ticket ticket = MAGIC__V1__TICKET__INIT;

    mg_buffer_reset(scratch);
    MG_TRY(mg_flight__pack_into(&body->base, scratch, err));
    size_t body_size = scratch->size;
    mg_latch_sign(latch, mg_buffer_slice(scratch), mac);
    ticket.body = mg_flight__binary(mg_buffer_slice(scratch));
    ticket.mac = (ProtobufCBinaryData){.len = sizeof mac, .data = mac};
    size_t size = protobuf_c_message_get_packed_size(&ticket.base);
    MG_TRY(mg_buffer_reserve(scratch, size, err)); /* the body may have moved with its buffer */
    ticket.body.data = scratch->data;
    protobuf_c_message_pack(&ticket.base, scratch->data + body_size);
    scratch->size += size;
    *out = MG_SLICE(scratch->data + body_size, size);
    return MG_OK;
}

enum mg_code mg_flight__ticket_read(const struct mg_latch *latch, uint64_t store_id, struct mg_slice bytes,
                                    struct mg_arena *arena, Magic__V1__TicketBody **out, struct mg_error *err)
{
    Magic__V1__Ticket *ticket = NULL;
    Magic__V1__TicketBody *body = NULL;

    enum mg_code code = MG_FLIGHT__UNPACK(magic__v1__ticket__descriptor, bytes, "the ticket", arena, &ticket, err);
    if (code == MG_INVALID)
        return mg_fail(err, MG_TICKET_INVALID, "the ticket's %zu bytes are not a ticket of Magic", bytes.size);
    if (code != MG_OK)
        return code;
    if (!mg_latch_verify(latch, mg_flight__bytes(ticket->body), mg_flight__bytes(ticket->mac)))
        return mg_fail(err, MG_TICKET_INVALID, "the ticket was not made by this store, or was changed");
    MG_TRY(MG_FLIGHT__UNPACK(magic__v1__ticket_body__descriptor, mg_flight__bytes(ticket->body), "the ticket's body",
                             arena, &body, err));
    if (body->store_id != store_id)
        return mg_fail(err, MG_TICKET_INVALID, "the ticket is of store %016" PRIx64 ", this is %016" PRIx64,
                       body->store_id, store_id);
    if (!body->scan && body->show.len == 0)
        return mg_fail(err, MG_TICKET_INVALID, "the ticket names nothing to read");
    if (body->scan && (body->scan->n_columns > MG_COLUMNS_MAX || body->table_id == 0 || body->schema_version == 0))
        return mg_fail(err, MG_TICKET_INVALID, "the ticket names no table, or too many columns (%zu)",
                       body->scan->n_columns);
    if (body->range && (body->range->low.len > MG_KEY_BYTES_MAX || body->range->high.len > MG_KEY_BYTES_MAX))
        return mg_fail(err, MG_TICKET_INVALID, "the ticket's key range is longer than a key can be");
    *out = body;
    return MG_OK;
}
