/* oracle.c -- a timestamp of TiDB's own oracle, over SQL: BEGIN; SELECT @@tidb_current_ts; ROLLBACK.
 *
 * Why SQL   a TiDB without TiKV makes timestamps of its own, which PD's stream knows nothing of; what a transaction
 *           begins with is of the right oracle by definition.
 * Errors    MG_UNAVAILABLE for whatever the server or the network says; the next question connects again.
 * Threads   a client belongs to one thread at a time; libmariadb is initialised once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <mysql.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "syncer/source/source_internal.h"

struct mg_oracle__client {
    char *host, *user, *password;
    uint16_t port;
    MYSQL *mysql; /* NULL: not connected */
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static void start_library(void) { mg_assert(mysql_library_init(0, NULL, NULL) == 0); }

enum mg_code mg_oracle__new(const struct mg_source_options *options, struct mg_oracle__client **out,
                            struct mg_error *err)
{
    pthread_once(&library_once, start_library);
    struct mg_oracle__client *client = calloc(1, sizeof *client);
    if (client) {
        client->host = strdup(options->sql_host);
        client->user = strdup(options->sql_user ? options->sql_user : "root");
        client->password = strdup(options->sql_password ? options->sql_password : "");
        client->port = options->sql_port;
    }
    if (!client || !client->host || !client->user || !client->password) {
        mg_oracle__free(client);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an SQL client");
    }
    *out = client;
    return MG_OK;
}

static void disconnect(struct mg_oracle__client *client)
{
    if (client->mysql)
        mysql_close(client->mysql);
    client->mysql = NULL;
}

void mg_oracle__free(struct mg_oracle__client *client)
{
    if (!client)
        return;
    disconnect(client);
    free(client->host);
    free(client->user);
    free(client->password);
    free(client);
}

/* The server's words, and the connection is given up. */
static enum mg_code fail_sql(struct mg_oracle__client *client, const char *what, struct mg_error *err)
{
    mg_fail(err, MG_UNAVAILABLE, "%s %s:%u for a timestamp failed: %s", what, client->host, client->port,
            client->mysql ? mysql_error(client->mysql) : "no memory");
    disconnect(client);
    return MG_UNAVAILABLE;
}

static enum mg_code connect_sql(struct mg_oracle__client *client, int64_t timeout_ms, struct mg_error *err)
{
    unsigned timeout_s = (unsigned)MG_MAX((timeout_ms + 999) / 1000, (int64_t)1), protocol = MYSQL_PROTOCOL_TCP;
    client->mysql = mysql_init(NULL);
    if (!client->mysql)
        return fail_sql(client, "connecting to", err);
    mysql_options(client->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &timeout_s);
    mysql_options(client->mysql, MYSQL_OPT_READ_TIMEOUT, &timeout_s);
    mysql_options(client->mysql, MYSQL_OPT_WRITE_TIMEOUT, &timeout_s);
    mysql_options(client->mysql, MYSQL_OPT_PROTOCOL, &protocol);
    mysql_options4(client->mysql, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "magic-syncer");
    if (!mysql_real_connect(client->mysql, client->host, client->user, client->password, NULL, client->port, NULL, 0))
        return fail_sql(client, "connecting to", err);
    return MG_OK;
}

static enum mg_code read_ts(struct mg_oracle__client *client, uint64_t *out_ts, struct mg_error *err)
{
    MYSQL_RES *rows = mysql_store_result(client->mysql);
    MYSQL_ROW row = rows ? mysql_fetch_row(rows) : NULL;
    uint64_t ts = row && row[0] ? strtoull(row[0], NULL, 10) : 0;
    mysql_free_result(rows);
    if (ts == 0)
        return mg_fail(err, MG_UNAVAILABLE, "%s:%u gives no timestamp: is it a TiDB?", client->host, client->port);
    *out_ts = ts;
    return MG_OK;
}

enum mg_code mg_oracle__ask(struct mg_oracle__client *client, int64_t timeout_ms, uint64_t *out_ts,
                            struct mg_error *err)
{
    uint64_t ts = 0;
    if (!client->mysql)
        MG_TRY(connect_sql(client, timeout_ms, err));
    if (mysql_query(client->mysql, "BEGIN") || mysql_query(client->mysql, "SELECT @@tidb_current_ts"))
        return fail_sql(client, "asking", err);
    MG_TRY(read_ts(client, &ts, err));
    if (mysql_query(client->mysql, "ROLLBACK"))
        return fail_sql(client, "asking", err);
    *out_ts = ts;
    return MG_OK;
}
