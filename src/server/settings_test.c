/* settings_test.c -- are settings read from file and flags, in that order, and mistakes named with their place?
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/settings.h"

static char path[] = "/tmp/magic_settings_XXXXXX";

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static enum mg_code read_flags(struct mg_settings *s, struct mg_error *err, int count, const char *const *flags)
{
    char *argv[16] = {(char *)(uintptr_t) "magicd"};

    *err = MG_ERROR_INIT;
    for (int i = 0; i < count; i++)
        argv[i + 1] = (char *)(uintptr_t)flags[i];
    mg_settings_init(s);
    return mg_settings_read_flags(s, mg_io_system(), count + 1, argv, err);
}
#define READ(s, err, ...) \
    read_flags(s, err, (int)MG_COUNT_OF(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void defaults_are_valid(void **state)
{
    struct mg_settings s;

    mg_settings_init(&s);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_INTERVAL), 10);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_LEASE_TTL), 60000);
    assert_string_equal(mg_setting_text(&s, MG_SETTING_LISTEN), "127.0.0.1:8815");
    assert_true(mg_setting_number(&s, MG_SETTING_MESSAGE_LIMIT) == (uint64_t)1 << 30);
    assert_true(mg_setting_number(&s, MG_SETTING_PUMP_MEMORY) > (uint64_t)1 << 30);
}

static void flags_go_above_the_file(void **state)
{
    struct mg_settings s;
    struct mg_error err;

    write_file(
        "data = \"/one\"\nmemory_limit = \"1GiB\"\n[source]\ninterval = \"25ms\"\nsql_port = 4001\npaused = true\n");
    assert_int_equal(READ(&s, &err, "--data", "/two", "--config", path, "--splits=3"), MG_OK);
    assert_string_equal(mg_setting_text(&s, MG_SETTING_DATA), "/two");
    assert_true(mg_setting_number(&s, MG_SETTING_MEMORY_LIMIT) == (uint64_t)1 << 30);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_INTERVAL), 25);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_SOURCE_SQL_PORT), 4001);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_PAUSED), 1);
    assert_int_equal(mg_setting_number(&s, MG_SETTING_SPLITS), 3);
}

static void mistakes_name_value_and_place(void **state)
{
    static const struct {
        const char *file, *says;
    } cases[] = {
        {"data = \"x\"\nmemory = \"1GiB\"\n", ":2: there is no setting memory"},
        {"interval = 1\n", ":1: there is no"},
        {"[source]\ninterval = \"0\"\n", ":2: source.interval: '0' is not between"},
        {"memory_limit = \"7 lots\"\n", "'7 lots' is no size"},
        {"memory_limit = \"99999999999999999999GiB\"\n", "is no size"},
        {"[source]\nmessage_limit = \"2GiB\"\n", ":2: source.message_limit: '2GiB' is not between"},
        {"[source]\npump_memory = \"1MiB\"\n", ":2: source.pump_memory: '1MiB' is below"},
        {"scan_threads = 65\n", ":1: scan_threads: '65' is not between 1 and 64"},
        {"engine = \"oracle\"\n", "no engine 'oracle'"},
        {"data = [1]\n", "line 1: data is neither"},
        {"data = \n", "line 1"},
        {"[tls]\ncert = \"x\"\n", "tls.cert is not in this version"},
    };
    struct mg_settings s;
    struct mg_error err;

    for (size_t i = 0; i < MG_COUNT_OF(cases); i++) {
        write_file(cases[i].file);
        assert_int_equal(READ(&s, &err, "--config", path), MG_INVALID);
        if (!strstr(err.text, cases[i].says) || !strstr(err.text, path))
            fail_msg("%s says: %s", cases[i].file, err.text);
    }
    assert_int_equal(READ(&s, &err, "--config", "/nowhere/at/all"), MG_NOT_FOUND);
    assert_int_equal(READ(&s, &err, "--dta", "x"), MG_INVALID);
    assert_non_null(strstr(err.text, "dta"));
    assert_int_equal(READ(&s, &err, "--data"), MG_INVALID);
    assert_int_equal(READ(&s, &err, "data"), MG_INVALID);
    assert_int_equal(READ(&s, &err, "--http", "1:2"), MG_INVALID);
    assert_non_null(strstr(err.text, "not in this version"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_valid),
        cmocka_unit_test(flags_go_above_the_file),
        cmocka_unit_test(mistakes_name_value_and_place),
    };
    int file = mkstemp(path);
    if (file < 0)
        return 1;
    close(file);
    int failed = cmocka_run_group_tests_name("settings", tests, NULL, NULL);
    unlink(path);
    return failed;
}
