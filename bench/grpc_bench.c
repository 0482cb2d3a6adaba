/* grpc_bench.c -- what gRPC costs over loopback: streams of large messages, and many small calls answered in groups.
 *
 * Question  CPU seconds of the server and of the client per GB (10^9 bytes) of a server stream, and GB/s; calls per
 *           second and latency of unary calls that are answered by another thread in groups, as after a group commit.
 * Data      messages of user memory, not copied by the server, copied once by the client; calls of 300 bytes.
 * Machine   printed; server and clients are processes of their own, so that their CPU time can be told apart.
 *
 *   grpc_bench [rounds [number]]     prints min / median / max of the rounds (default 5), of all or that measurement
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "grpc/grpc_testing.h"

enum { ROUNDS_MAX = 100, GROUP_MAX = 64, CALL_BYTES = 300 };

struct result {
    double seconds, server_cpu, client_cpu;
    double p50_us, p99_us;
};

static double cpu_of(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double now_s(void) { return (double)mg_mono_ns(mg_clock_system()) / 1e9; }

static void must(enum mg_code code, const struct mg_error *err)
{
    if (code == MG_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

struct committer {
    struct test_server *test;
    _Atomic bool ending;
};

/* Answers whatever came, as often as a disk would: every 200 us. */
static void commit(void *arg)
{
    struct committer *committer = arg;
    while (!committer->ending) {
        mg_mutex_lock(&committer->test->lock);
        while (committer->test->later_count == 0 && !committer->ending)
            mg_cond_wait_ms(&committer->test->changed, &committer->test->lock, 50);
        size_t count = committer->test->later_count;
        mg_mutex_unlock(&committer->test->lock);
        usleep(200);
        if (count > 0)
            test_later_answer(committer->test, count);
    }
}

/* The server's process: writes its address, then, when input ends, its CPU time. */
static void serve(const char *address, int in, int out)
{
    static struct test_server test;
    static struct mg_thread thread;
    struct mg_error err = MG_ERROR_INIT;
    char byte;
    must(test_server_start(&test, (struct mg_grpc_server_options){.io_threads = 1}, address, &err), &err);
    struct committer committer = {.test = &test};
    must(mg_thread_start(&thread, "committer", commit, &committer, &err), &err);
    if (write(out, test.address, sizeof test.address) != sizeof test.address)
        exit(1);
    while (read(in, &byte, 1) > 0)
        ;
    committer.ending = true;
    mg_thread_join(&thread);
    test_server_end(&test);
    double cpu = cpu_of(RUSAGE_SELF);
    if (write(out, &cpu, sizeof cpu) != sizeof cpu)
        exit(1);
    exit(0);
}

struct task {
    struct mg_thread thread;
    const char *address;
    uint32_t count, size;
    double *latencies; /* NULL: a stream */
};

static void stream(void *arg)
{
    struct task *task = arg;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_client *client;
    uint8_t request[8];
    mg_store_le32(request, task->count);
    mg_store_le32(request + 4, task->size);
    must(mg_grpc_client_connect(task->address, NULL, &client, &err), &err);
    must(mg_grpc_client_begin(client, "/test.Test/Stream", 0, &err), &err);
    must(mg_grpc_client_send(client, &(struct iovec){request, 8}, 1, &err), &err);
    must(mg_grpc_client_half_close(client, &err), &err);
    struct mg_slice message;
    for (uint32_t i = 0; i < task->count; i++)
        must(mg_grpc_client_receive(client, &message, &err), &err);
    mg_grpc_client_close(client);
}

static void call(void *arg)
{
    struct task *task = arg;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_grpc_client *client;
    static const uint8_t request[CALL_BYTES];
    must(mg_grpc_client_connect(task->address, NULL, &client, &err), &err);
    for (uint32_t i = 0; i < task->count; i++) {
        struct mg_slice response;
        double begun = now_s();
        must(mg_grpc_client_unary(client, "/test.Test/Later", 0, MG_SLICE(request, sizeof request), &response, &err),
             &err);
        task->latencies[i] = (now_s() - begun) * 1e6;
    }
    mg_grpc_client_close(client);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct result run(const char *address, uint32_t clients, uint32_t count, uint32_t size, bool unary)
{
    int to_server[2], from_server[2];
    if (pipe(to_server) || pipe(from_server))
        exit(1);
    fflush(NULL);
    pid_t server = fork();
    if (server == 0) {
        close(to_server[1]);
        serve(address, to_server[0], from_server[1]);
    }
    close(to_server[0]);
    close(from_server[1]);
    char bound[128];
    if (server < 0 || read(from_server[0], bound, sizeof bound) != sizeof bound)
        exit(1);
    struct task tasks[GROUP_MAX] = {{.count = 0}};
    struct mg_error err = MG_ERROR_INIT;
    double *latencies = calloc((size_t)clients * count, sizeof *latencies);
    double begun = now_s(), cpu = cpu_of(RUSAGE_SELF);
    for (uint32_t i = 0; i < clients; i++) {
        tasks[i] = (struct task){.address = bound, .count = count, .size = size};
        if (unary)
            tasks[i].latencies = latencies + (size_t)i * count;
        must(mg_thread_start(&tasks[i].thread, "client", unary ? call : stream, &tasks[i], &err), &err);
    }
    for (uint32_t i = 0; i < clients; i++)
        mg_thread_join(&tasks[i].thread);
    struct result result = {.seconds = now_s() - begun, .client_cpu = cpu_of(RUSAGE_SELF) - cpu};
    close(to_server[1]);
    if (read(from_server[0], &result.server_cpu, sizeof result.server_cpu) != sizeof result.server_cpu)
        exit(1);
    close(from_server[0]);
    waitpid(server, NULL, 0);
    if (unary) {
        size_t total = (size_t)clients * count;
        qsort(latencies, total, sizeof *latencies, compare);
        result.p50_us = latencies[total / 2];
        result.p99_us = latencies[total * 99 / 100];
    }
    free(latencies);
    return result;
}

static void print(const char *name, double *values, int rounds)
{
    qsort(values, (size_t)rounds, sizeof *values, compare);
    printf("  %-28s %9.3f / %9.3f / %9.3f\n", name, values[0], values[rounds / 2], values[rounds - 1]);
}

static void measure_streams(const char *title, const char *address, uint32_t clients, uint32_t size, int rounds)
{
    double speed[ROUNDS_MAX], server[ROUNDS_MAX], client[ROUNDS_MAX];
    double gigabytes = 2.0;
    uint32_t count = (uint32_t)(gigabytes * 1e9 / clients / size);
    gigabytes = (double)count * clients * size / 1e9;
    for (int r = 0; r < rounds; r++) {
        struct result result = run(address, clients, count, size, false);
        speed[r] = gigabytes / result.seconds;
        server[r] = result.server_cpu / gigabytes;
        client[r] = result.client_cpu / gigabytes;
    }
    printf("%s: %u x stream of %u KiB messages\n", title, clients, size >> 10);
    print("GB/s", speed, rounds);
    print("server CPU s/GB", server, rounds);
    print("client CPU s/GB", client, rounds);
}

static void measure_calls(const char *title, const char *address, uint32_t clients, int rounds)
{
    double speed[ROUNDS_MAX], server[ROUNDS_MAX], p50[ROUNDS_MAX], p99[ROUNDS_MAX];
    uint32_t count = 20000 / clients;
    for (int r = 0; r < rounds; r++) {
        struct result result = run(address, clients, count, 0, true);
        speed[r] = count * clients / result.seconds;
        server[r] = result.server_cpu / (count * clients) * 1e6;
        p50[r] = result.p50_us;
        p99[r] = result.p99_us;
    }
    printf("%s: %u clients, calls answered in groups after 200 us\n", title, clients);
    print("calls/s", speed, rounds);
    print("server CPU us/call", server, rounds);
    print("p50 us", p50, rounds);
    print("p99 us", p99, rounds);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5;
    long only = argc > 2 ? strtol(argv[2], NULL, 10) : -1;
    rounds = MG_MIN(MG_MAX(rounds, 1), (int)ROUNDS_MAX);
    char unix_address[64];
    snprintf(unix_address, sizeof unix_address, "unix:/tmp/magic-grpc-bench-%d.sock", (int)getpid());
    printf("%ld processors; min / median / max of %d rounds\n", sysconf(_SC_NPROCESSORS_ONLN), rounds);
    const struct {
        const char *title, *address;
        uint32_t clients, size; /* size 0: calls */
    } list[] = {
        {"tcp", "127.0.0.1:0", 1, 1 << 20},  {"tcp", "127.0.0.1:0", 4, 1 << 20}, {"unix", unix_address, 1, 1 << 20},
        {"tcp", "127.0.0.1:0", 1, 64 << 10}, {"tcp", "127.0.0.1:0", 1, 0},       {"tcp", "127.0.0.1:0", 32, 0},
        {"unix", unix_address, 32, 0},
    };
    for (size_t i = 0; i < MG_COUNT_OF(list); i++) {
        if (only >= 0 && only != (long)i)
            continue;
        printf("%zu. ", i);
        if (list[i].size > 0)
            measure_streams(list[i].title, list[i].address, list[i].clients, list[i].size, rounds);
        else
            measure_calls(list[i].title, list[i].address, list[i].clients, rounds);
    }
    return 0;
}
