/* listener_test.c -- addresses, stale and foreign unix sockets, and accepting when descriptors run out.
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/testing.h"
#include "grpc/grpc_internal.h"
#include "grpc/grpc_testing.h"

static struct mg_error err;

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *formatted; /* NULL: no address */
    } cases[] = {
        {"127.0.0.1:8815", "127.0.0.1:8815"},
        {"grpc://127.0.0.1:1", "127.0.0.1:1"},
        {"grpc+tcp://127.0.0.1:65535", "127.0.0.1:65535"},
        {"[::1]:80", "[::1]:80"},
        {"unix:/tmp/x", "unix:/tmp/x"},
        {"grpc+unix:///tmp/x", "unix:/tmp/x"},
        {"unix:///tmp/x", "unix:/tmp/x"},
        {"", NULL},
        {"127.0.0.1", NULL},
        {"127.0.0.1:", NULL},
        {":80", NULL},
        {"127.0.0.1:123456", NULL},
        {"127.0.0.1:x", NULL},
        {"unix:", NULL},
        {"http://127.0.0.1:80", NULL},
    };
    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        struct mg_grpc__address address;
        char text[128];
        enum mg_code code = mg_grpc__address_parse(cases[i].text, &address, &err);
        if (!cases[i].formatted) {
            assert_true(code == MG_INVALID || code == MG_UNAVAILABLE);
            continue;
        }
        assert_int_equal(code, MG_OK);
        mg_grpc__address_format(&address, text);
        assert_string_equal(text, cases[i].formatted);
    }
    char longest[200] = "unix:/";
    memset(longest + 6, 'x', 150);
    struct mg_grpc__address address;
    assert_code(MG_INVALID, mg_grpc__address_parse(longest, &address, &err));
}

static void check_call(const char *address)
{
    struct mg_grpc_client *client;
    struct mg_slice response;
    assert_ok(mg_grpc_client_connect(address, NULL, &client, &err));
    assert_ok(mg_grpc_client_unary(client, "/test.Test/Echo", 10000, MG_SLICE("x", 1), &response, &err));
    mg_grpc_client_close(client);
}

static void test_unix_socket_file(void **state)
{
    struct test_server *test = calloc(1, sizeof *test);
    char *folder = make_folder();
    char path[4200], address[4300], bound[128];
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(address, sizeof address, "unix:%s", path);
    /* A stale one, as a killed process leaves it. */
    struct mg_grpc__address parsed;
    int fd;
    assert_ok(mg_grpc__address_parse(address, &parsed, &err));
    assert_ok(mg_grpc__address_listen(&parsed, &fd, &err));
    close(fd);
    assert_int_equal(access(path, F_OK), 0);
    assert_ok(test_server_start(test, (struct mg_grpc_server_options){.io_threads = 1}, address, &err));
    assert_string_equal(test->address, address);
    check_call(address);
    /* A living one. */
    assert_code(MG_BUSY, mg_grpc_server_listen(test->server, address, bound, &err));
    check_call(address);
    /* Added while it runs; the same port twice. */
    assert_ok(mg_grpc_server_listen(test->server, "127.0.0.1:0", bound, &err));
    check_call(bound);
    assert_code(MG_BUSY, mg_grpc_server_listen(test->server, bound, NULL, &err));
    /* Somebody else's file in our place is not ours to remove. */
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_code(MG_EXISTS, mg_grpc_server_listen(test->server, address, NULL, &err));
    mg_grpc_server_stop(test->server, 0);
    assert_code(MG_CLOSED, mg_grpc_server_listen(test->server, "127.0.0.1:0", NULL, &err));
    test_server_end(test);
    assert_int_equal(access(path, F_OK), 0);
    /* Our own is removed. */
    unlink(path);
    assert_ok(test_server_start(test, (struct mg_grpc_server_options){.io_threads = 1}, address, &err));
    test_server_end(test);
    assert_int_not_equal(access(path, F_OK), 0);
    struct mg_grpc_client *client;
    assert_code(MG_UNAVAILABLE, mg_grpc_client_connect(address, NULL, &client, &err));
    remove_folder(folder);
    free(test);
}

/* Somebody who answers, but not in HTTP/2, and somebody who says nothing. */
static void test_client_against_others(void **state)
{
    struct mg_grpc__address address;
    char text[128];
    int listen_fd;
    assert_ok(mg_grpc__address_parse("127.0.0.1:0", &address, &err));
    assert_ok(mg_grpc__address_listen(&address, &listen_fd, &err));
    mg_grpc__address_format(&address, text);
    struct mg_grpc_client_options options = {.connect_timeout_ms = 100};
    struct mg_grpc_client *client;
    assert_code(MG_UNAVAILABLE, mg_grpc_client_connect(text, &options, &client, &err));
    close(listen_fd);
    assert_code(MG_UNAVAILABLE, mg_grpc_client_connect(text, &options, &client, &err));
    assert_code(MG_INVALID, mg_grpc_client_connect("nonsense", &options, &client, &err));
}

enum { CHILD_GOOD = 42 };

static int open_files(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

#define CHILD_MUST(condition)                                       \
    do {                                                            \
        if (!(condition)) {                                         \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            _exit(1);                                               \
        }                                                           \
    } while (0)

/* In its own process: the limit counts for all of it. */
static void run_out_of_files(void)
{
    struct test_server *test = calloc(1, sizeof *test);
    CHILD_MUST(test &&
               test_server_start(test, (struct mg_grpc_server_options){.io_threads = 1}, "127.0.0.1:0", &err) == MG_OK);
    struct mg_grpc__address address;
    CHILD_MUST(mg_grpc__address_parse(test->address, &address, NULL) == MG_OK);
    struct rlimit limit = {.rlim_cur = (rlim_t)open_files() + 40, .rlim_max = (rlim_t)open_files() + 40};
    CHILD_MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    mg_log_set_level(MG_LOG_ERROR);
    for (int round = 0; round < 3; round++) {
        /* Sockets of both ends come from one limit: take them until none is left. */
        int fds[64], count = 0;
        while (count < 64 && (fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0)
            count++;
        CHILD_MUST(count > 10 && count < 64);
        for (int i = 0; i < count; i++)
            CHILD_MUST(connect(fds[i], &address.socket.any, address.size) == 0);
        usleep(100000);
        for (int i = 0; i < count; i++)
            close(fds[i]);
        /* It accepts again. */
        struct mg_grpc_client *client = NULL;
        struct mg_slice response;
        CHILD_MUST(TEST_SOON(mg_grpc_client_connect(test->address, NULL, &client, &err) == MG_OK));
        CHILD_MUST(mg_grpc_client_unary(client, "/test.Test/Echo", 10000, MG_SLICE("x", 1), &response, &err) == MG_OK);
        mg_grpc_client_close(client);
    }
    CHILD_MUST(mg_counted(grpc_refused) > 0);
    test_server_end(test);
    free(test);
    _exit(CHILD_GOOD);
}

static void test_out_of_files(void **state)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        run_out_of_files();
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), CHILD_GOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_files), /* first: no thread was ever started before the fork */
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_unix_socket_file),
        cmocka_unit_test(test_client_against_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
