/* http.c -- GET from the source's status port, over one kept connection.
 *
 * Bounds   time to connect and in all; the body by its buffer's maximum.
 * Proxies  of the environment are not used: this is a machine-to-machine address.
 * Threads  a client belongs to one thread at a time; libcurl is initialised once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "syncer/source/source_internal.h"

enum { CONNECT_TIMEOUT_MS = 2000, URL_MAX = 16384 };

struct mg_http__client {
    CURL *easy;
    char *base_url;
    struct mg_buffer *body; /* of the running request */
    enum mg_code body_code; /* why it could not be kept */
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void start_curl(void) { mg_assert(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); }

static size_t keep_body(char *data, size_t size, size_t count, void *arg)
{
    struct mg_http__client *client = arg;
    client->body_code = mg_buffer_append(client->body, data, size * count, NULL);
    return client->body_code == MG_OK ? size * count : 0;
}

enum mg_code mg_http__new(const char *base_url, struct mg_http__client **out, struct mg_error *err)
{
    pthread_once(&curl_once, start_curl);
    struct mg_http__client *client = calloc(1, sizeof *client);
    if (client) {
        client->base_url = strdup(base_url);
        client->easy = curl_easy_init();
    }
    if (!client || !client->base_url || !client->easy) {
        mg_http__free(client);
        return mg_fail(err, MG_NO_MEMORY, "no memory for an HTTP client");
    }
    size_t size = strlen(client->base_url);
    if (size && client->base_url[size - 1] == '/')
        client->base_url[size - 1] = 0;
    curl_easy_setopt(client->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(client->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(client->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(client->easy, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(client->easy, CURLOPT_WRITEDATA, client);
    *out = client;
    return MG_OK;
}

void mg_http__free(struct mg_http__client *client)
{
    if (!client)
        return;
    if (client->easy)
        curl_easy_cleanup(client->easy);
    free(client->base_url);
    free(client);
}

/* What an answer other than 200 means. */
static enum mg_code judge_status(long status, const char *url, const struct mg_buffer *body, struct mg_error *err)
{
    int shown = 0;
    while ((size_t)shown < body->size && shown < 200 && body->data[shown] >= ' ')
        shown++;
    enum mg_code code = status == 404 ? MG_NOT_FOUND : status >= 500 ? MG_UNAVAILABLE : MG_INVALID;
    return mg_fail(err, code, "%s answered %ld: %.*s", url, status, shown, shown ? (const char *)body->data : "");
}

enum mg_code mg_http__get(struct mg_http__client *client, const char *path, int64_t timeout_ms, struct mg_buffer *out,
                          struct mg_error *err)
{
    char url[URL_MAX];
    if (snprintf(url, sizeof url, "%s%s", client->base_url, path) >= (int)sizeof url)
        return mg_fail(err, MG_TOO_BIG, "an address of more than %d bytes cannot be asked for", URL_MAX);
    mg_buffer_reset(out);
    client->body = out;
    client->body_code = MG_OK;
    curl_easy_setopt(client->easy, CURLOPT_URL, url);
    curl_easy_setopt(client->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    CURLcode result = curl_easy_perform(client->easy);
    client->body = NULL;
    if (client->body_code != MG_OK)
        return mg_fail(err, client->body_code, "the answer of %.200s has more than %zu bytes", url, out->max);
    if (result != CURLE_OK)
        return mg_fail(err, MG_UNAVAILABLE, "%.200s cannot be asked: %s", url, curl_easy_strerror(result));
    long status = 0;
    curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 ? MG_OK : judge_status(status, url, out, err);
}
