/* server.h -- magicd as one thing: engine, latch service, connector and, when a source is set, the syncer.
 *
 * The only room that names engines. Everything starts in mg_server_start and ends in mg_server_stop, in the reverse
 * order.
 * Threads  start, stop: the main thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SERVER_SERVER_H
#define MG_SERVER_SERVER_H

#include "server/settings.h"

struct mg_server;

/* Takes a copy of the settings. After MG_OK the service is reachable at mg_server_address. */
MG_MUST_CHECK enum mg_code mg_server_start(const struct mg_settings *settings, struct mg_server **out,
                                           struct mg_error *err);
const char *mg_server_address(const struct mg_server *server);
/* Readers first, then the source (what is complete is published), then the store. NULL is allowed. */
void mg_server_stop(struct mg_server *server);

#endif
