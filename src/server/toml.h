/* toml.h -- the one door to the TOML library, which is C++: a file's values, one by one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_SERVER_TOML_H
#define MG_SERVER_TOML_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* key is dotted ("source.listen"), value its text, line its place. Not 0 ends the walk. */
typedef int mg_toml_item(void *arg, const char *key, const char *value, int line);

/* 0; 1 when item ended the walk; -1 with a text in error, which holds the line, when the file is no TOML or a value is
 * neither text, whole number nor true or false. Not reentrant in error, otherwise pure. */
int mg_toml_walk(const char *text, size_t size, mg_toml_item *item, void *arg, char *error, size_t error_size);

#ifdef __cplusplus
}
#endif

#endif
