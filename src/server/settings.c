/* settings.c -- reads settings from defaults, a TOML file and flags; every mistake names what was said and where.
 *
 * Errors  MG_INVALID for an unknown key, a value that its kind cannot read, a missing value.
 * Threads as settings.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/toml.h"

enum { CONFIG_FILE_MAX = 1 << 20 };

enum kind { TEXT, PATH, SIZE, TIME, NUMBER, BOOL };

static const struct definition {
    const char *key, *flag;
    enum kind kind;
    const char *default_text;
    bool run_time;
    const char *sentence;
} definitions[] = {
#define MG_X(id, key, flag, kind, default_text, run_time, sentence) {key, flag, kind, default_text, run_time, sentence},
#include "server/settings.def"
#undef MG_X
};

/* Of later versions: refused by name. */
static const char *const later[] = {"http", "tls", "users", "tls_cert", "tls_key", "etcd", "kafka"};

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit size_units[] = {{"", 1},
                                         {"B", 1},
                                         {"KB", 1000},
                                         {"MB", 1000000},
                                         {"GB", 1000000000},
                                         {"KiB", (uint64_t)1 << 10},
                                         {"MiB", (uint64_t)1 << 20},
                                         {"GiB", (uint64_t)1 << 30},
                                         {"TiB", (uint64_t)1 << 40}};
static const struct unit time_units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

/* Digits and a unit. */
static bool read_with_unit(const char *text, const struct unit *units, size_t unit_count, uint64_t *out)
{
    char *end;

    errno = 0;
    if (!isdigit((unsigned char)*text))
        return false;
    uint64_t number = strtoull(text, &end, 10);
    for (; *end == ' '; end++)
        ;
    for (size_t i = 0; i < unit_count; i++)
        if (strcmp(end, units[i].name) == 0)
            return errno == 0 && !__builtin_mul_overflow(number, units[i].factor, out);
    return false;
}

static bool read_bool(const char *text, uint64_t *out)
{
    static const char *const words[][2] = {{"false", "true"}, {"0", "1"}, {"off", "on"}, {"no", "yes"}};

    for (size_t i = 0; i < MG_COUNT_OF(words); i++)
        for (uint64_t value = 0; value < 2; value++)
            if (strcmp(text, words[i][value]) == 0) {
                *out = value;
                return true;
            }
    return false;
}

static enum mg_code read_value(enum kind kind, const char *text, uint64_t *out, struct mg_error *err)
{
    *out = 0;
    if (!*text)
        return MG_OK;
    switch (kind) {
    case SIZE:
        return read_with_unit(text, size_units, MG_COUNT_OF(size_units), out)
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is no size: write 4096, 512KiB, 64MiB, 4GiB", text);
    case TIME:
        return read_with_unit(text, time_units, MG_COUNT_OF(time_units), out)
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is no time: write 10ms, 60s, 5m, 24h", text);
    case NUMBER:
        return read_with_unit(text, size_units, 1, out) ? MG_OK
                                                        : mg_fail(err, MG_INVALID, "'%s' is no whole number", text);
    case BOOL: return read_bool(text, out) ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is neither true nor false", text);
    default: return MG_OK;
    }
}

/* What its kind alone does not say. */
static enum mg_code check_value(enum mg_setting_id id, const char *text, uint64_t number, struct mg_error *err)
{
    switch (id) {
    case MG_SETTING_ENGINE:
        text += strncmp(text, "trace:", 6) == 0 ? 6 : 0;
        return strcmp(text, "magic") == 0 || strcmp(text, "model") == 0
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "there is no engine '%s': magic or model, or trace: and one of them",
                             text);
    case MG_SETTING_LOG_LEVEL:
        return mg_log_level_from_name(text) >= 0
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is none of debug, info, warn, error", text);
    case MG_SETTING_SOURCE_NAME:
        return *text && strlen(text) < 64 ? MG_OK : mg_fail(err, MG_INVALID, "'%s': 1 to 63 bytes are allowed", text);
    case MG_SETTING_SOURCE_SQL_PORT:
        return number >= 1 && number <= 65535 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is no port", text);
    case MG_SETTING_INTERVAL:
        return number >= 1 && number <= 60000 ? MG_OK
                                              : mg_fail(err, MG_INVALID, "'%s' is not between 1ms and 60s", text);
    case MG_SETTING_LEASE_TTL:
    case MG_SETTING_LEASE_AGE_MAX: return number >= 100 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is below 100ms", text);
    case MG_SETTING_SPLITS:
        return !*text || (number >= 1 && number <= 1024)
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is not between 1 and 1024", text);
    case MG_SETTING_SCAN_THREADS:
        return !*text || (number >= 1 && number <= 64) ? MG_OK
                                                       : mg_fail(err, MG_INVALID, "'%s' is not between 1 and 64", text);
    case MG_SETTING_MEMORY_LIMIT:
        return !*text || number >= (uint64_t)64 << 20 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is below 64MiB", text);
    case MG_SETTING_BUFFER_SEGMENT:
    case MG_SETTING_MESSAGE_LIMIT:
        return number >= (uint64_t)1 << 20 && number <= (uint64_t)1 << 30
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is not between 1MiB and 1GiB", text);
    case MG_SETTING_PUMP_MEMORY:
        return number >= (uint64_t)17 << 20 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is below 17MiB", text);
    case MG_SETTING_DELTA_SEGMENT:
    case MG_SETTING_EPOCH_MEMORY:
        return !*text || (number >= (uint64_t)16 << 10 && number <= (uint64_t)1 << 30)
                   ? MG_OK
                   : mg_fail(err, MG_INVALID, "'%s' is not between 16KiB and 1GiB", text);
    case MG_SETTING_CHECKPOINT_EVERY:
        return number >= 100 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is below 100ms", text);
    case MG_SETTING_CHECKPOINT_WAL:
    case MG_SETTING_WAL_SEGMENT:
        return number >= (uint64_t)1 << 20 ? MG_OK : mg_fail(err, MG_INVALID, "'%s' is below 1MiB", text);
    default: return MG_OK;
    }
}

enum mg_code mg_settings_set(struct mg_settings *settings, enum mg_setting_id id, const char *text,
                             struct mg_error *err)
{
    uint64_t number;
    enum mg_code code;

    if (strlen(text) >= MG_SETTING_TEXT_MAX)
        return mg_fail(err, MG_INVALID, "%s: a value of %zu bytes, at most %d are allowed", definitions[id].key,
                       strlen(text), MG_SETTING_TEXT_MAX - 1);
    code = read_value(definitions[id].kind, text, &number, err);
    if (code == MG_OK)
        code = check_value(id, text, number, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "%s", definitions[id].key);
    snprintf(settings->values[id].text, MG_SETTING_TEXT_MAX, "%s", text);
    settings->values[id].number = number;
    return MG_OK;
}

void mg_settings_init(struct mg_settings *settings)
{
    struct mg_error err = MG_ERROR_INIT;

    memset(settings, 0, sizeof *settings);
    for (int i = 0; i < MG_SETTING_COUNT; i++)
        mg_assert(mg_settings_set(settings, (enum mg_setting_id)i, definitions[i].default_text, &err) == MG_OK);
}

static int find_key(const char *key)
{
    for (int i = 0; i < MG_SETTING_COUNT; i++)
        if (strcmp(definitions[i].key, key) == 0)
            return i;
    return -1;
}

static int find_flag(const char *flag)
{
    for (int i = 0; i < MG_SETTING_COUNT; i++)
        if (strcmp(definitions[i].flag, flag) == 0)
            return i;
    return -1;
}

int mg_settings_find(const char *name)
{
    int id = find_key(name);
    return id >= 0 ? id : find_flag(name);
}

const char *mg_settings_key(enum mg_setting_id id) { return definitions[id].key; }
bool mg_settings_at_run_time(enum mg_setting_id id) { return definitions[id].run_time; }

static enum mg_code fail_unknown(const char *key, struct mg_error *err)
{
    for (size_t i = 0; i < MG_COUNT_OF(later); i++)
        if (strncmp(key, later[i], strlen(later[i])) == 0)
            return mg_fail(err, MG_INVALID, "%s is not in this version", key);
    return mg_fail(err, MG_INVALID, "there is no setting %s: see magicd --help", key);
}

/* ---- file ---------------------------------------------------------------------------------------------------- */

struct file_walk {
    struct mg_settings *settings;
    const char *path;
    struct mg_error *err;
    enum mg_code code;
};

static int take_item(void *arg, const char *key, const char *value, int line)
{
    struct file_walk *walk = arg;
    int id = find_key(key);

    walk->code = id < 0 ? fail_unknown(key, walk->err)
                        : mg_settings_set(walk->settings, (enum mg_setting_id)id, value, walk->err);
    if (walk->code != MG_OK)
        mg_fail_in(walk->err, walk->code, "%s:%d", walk->path, line);
    return walk->code != MG_OK;
}

enum mg_code mg_settings_read_file(struct mg_settings *settings, struct mg_io *io, const char *path,
                                   struct mg_error *err)
{
    struct file_walk walk = {.settings = settings, .path = path, .err = err};
    char problem[256] = "";
    struct mg_buffer text;

    mg_buffer_init(&text, CONFIG_FILE_MAX);
    enum mg_code code = mg_io_read_file(io, path, &text, err);
    if (code == MG_OK) {
        int result = mg_toml_walk((const char *)text.data, text.size, take_item, &walk, problem, sizeof problem);
        code = result < 0 ? mg_fail(err, MG_INVALID, "%s: %s", path, problem) : walk.code;
    }
    mg_buffer_clear(&text);
    return code;
}

/* ---- flags --------------------------------------------------------------------------------------------------- */

/* The value of the flag at argv[*i], behind = or as the next argument; moves *i. NULL: there is none. */
static const char *flag_value(int argc, char **argv, int *i, bool is_bool)
{
    const char *equals = strchr(argv[*i], '=');

    if (equals)
        return equals + 1;
    if (is_bool && (*i + 1 >= argc || argv[*i + 1][0] == '-'))
        return "true";
    return *i + 1 < argc ? argv[++*i] : NULL;
}

/* The flag's name in name; false for what is none. */
static bool flag_name(const char *argument, char name[64])
{
    if (strncmp(argument, "--", 2) != 0)
        return false;
    size_t size = strcspn(argument + 2, "=");
    if (size == 0 || size >= 64)
        return false;
    memcpy(name, argument + 2, size);
    name[size] = 0;
    return true;
}

static enum mg_code read_config_flag(struct mg_settings *settings, struct mg_io *io, int argc, char **argv,
                                     struct mg_error *err)
{
    char name[64];

    for (int i = 1; i < argc; i++)
        if (flag_name(argv[i], name) && strcmp(name, "config") == 0) {
            const char *path = flag_value(argc, argv, &i, false);
            if (!path)
                return mg_fail(err, MG_INVALID, "--config needs a file");
            MG_TRY(mg_settings_read_file(settings, io, path, err));
        }
    return MG_OK;
}

enum mg_code mg_settings_read_flags(struct mg_settings *settings, struct mg_io *io, int argc, char **argv,
                                    struct mg_error *err)
{
    char name[64];

    MG_TRY(read_config_flag(settings, io, argc, argv, err));
    for (int i = 1; i < argc; i++) {
        if (!flag_name(argv[i], name))
            return mg_fail(err, MG_INVALID, "'%s' is no flag: see magicd --help", argv[i]);
        bool is_config = strcmp(name, "config") == 0;
        int id = is_config ? 0 : find_flag(name);
        if (id < 0)
            return fail_unknown(name, err);
        const char *value = flag_value(argc, argv, &i, !is_config && definitions[id].kind == BOOL);
        if (!value)
            return mg_fail(err, MG_INVALID, "--%s needs a value", name);
        if (!is_config)
            MG_TRY(mg_settings_set(settings, (enum mg_setting_id)id, value, err));
    }
    return MG_OK;
}

void mg_settings_print_help(FILE *to)
{
    static const char *const values[] = {"TEXT", "PATH", "SIZE", "TIME", "N", "true|false"};

    fprintf(to, "  %-34s %s\n", "--config FILE", "a TOML file with the keys below; flags go above it");
    for (int i = 0; i < MG_SETTING_COUNT; i++) {
        const struct definition *d = &definitions[i];
        char flag[96];
        snprintf(flag, sizeof flag, "--%s %s", d->flag, values[d->kind]);
        fprintf(to, "  %-34s %s%s%s%s\n", flag, d->sentence, *d->default_text ? " [" : "", d->default_text,
                *d->default_text ? "]" : "");
        if (strcmp(d->flag, d->key) != 0)
            fprintf(to, "  %-34s   in the file: %s%s\n", "", d->key, d->run_time ? "; may change at run time" : "");
    }
}
