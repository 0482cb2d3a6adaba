/* settings.h -- the settings of magicd: defaults, then the file, then flags; some can change while it runs.
 *
 * Threads  filled by main before threads start; afterwards changed only through mg_settings_set under the server's
 *          lock.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SERVER_SETTINGS_H
#define MG_SERVER_SETTINGS_H

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/io.h"

enum mg_setting_id {
#define MG_X(id, key, flag, kind, default_text, run_time, sentence) MG_SETTING_##id,
#include "server/settings.def"
#undef MG_X
    MG_SETTING_COUNT
};

enum { MG_SETTING_TEXT_MAX = 1024 };

struct mg_setting {
    char text[MG_SETTING_TEXT_MAX]; /* as it was said; "" = not set */
    uint64_t number;                /* SIZE in bytes, TIME in ms, NUMBER, BOOL as 0 or 1; 0 when not set */
};

struct mg_settings {
    struct mg_setting values[MG_SETTING_COUNT];
};

void mg_settings_init(struct mg_settings *settings);
/* A TOML file. MG_INVALID and MG_NOT_FOUND name file, line, key and value. */
MG_MUST_CHECK enum mg_code mg_settings_read_file(struct mg_settings *settings, struct mg_io *io, const char *path,
                                                 struct mg_error *err);
/* --flag VALUE, --flag=VALUE; a BOOL's value may be left out. --config is read first, wherever it stands. */
MG_MUST_CHECK enum mg_code mg_settings_read_flags(struct mg_settings *settings, struct mg_io *io, int argc, char **argv,
                                                  struct mg_error *err);
/* The setting with that key, else with that flag; -1 when there is none. */
int mg_settings_find(const char *name);
const char *mg_settings_key(enum mg_setting_id id);
bool mg_settings_at_run_time(enum mg_setting_id id);
/* Read text as the setting's kind. */
MG_MUST_CHECK enum mg_code mg_settings_set(struct mg_settings *settings, enum mg_setting_id id, const char *text,
                                           struct mg_error *err);
/* All flags with their defaults and sentences. */
void mg_settings_print_help(FILE *to);

static inline const char *mg_setting_text(const struct mg_settings *s, enum mg_setting_id id)
{
    return s->values[id].text;
}
/* NULL when not set. */
static inline const char *mg_setting_text_or_null(const struct mg_settings *s, enum mg_setting_id id)
{
    return s->values[id].text[0] ? s->values[id].text : NULL;
}
static inline uint64_t mg_setting_number(const struct mg_settings *s, enum mg_setting_id id)
{
    return s->values[id].number;
}

#endif
