/* print.h -- rows as people and programs want them: a table, CSV, JSON lines, or an Arrow stream.
 *
 * Values are exact in every form: decimals with all fraction digits, times with their type's. NULL is NULL in a table,
 * an empty field in CSV (an empty text is ""), null in JSON. JSON has decimals and integers beyond 53 bits as text,
 * since most readers would round them.
 * Threads  a printer belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CLI_PRINT_H
#define MG_CLI_PRINT_H

#include <stdio.h>

#include "cli/remote.h"

enum mg_format { MG_FORMAT_TABLE, MG_FORMAT_CSV, MG_FORMAT_JSON, MG_FORMAT_ARROW };
/* -1 for a name that is none of table, csv, json, arrow. */
int mg_format_from_name(const char *name);

struct mg_printer;
MG_MUST_CHECK enum mg_code mg_printer_new(enum mg_format format, FILE *to, struct mg_printer **out,
                                          struct mg_error *err);
void mg_printer_free(struct mg_printer *printer); /* NULL is allowed */
/* For mg_remote_sql; valid as long as the printer. */
struct mg_row_sink mg_printer_sink(struct mg_printer *printer);
/* Write what is held back. rows: how many there were. */
MG_MUST_CHECK enum mg_code mg_printer_end(struct mg_printer *printer, uint64_t *out_rows, struct mg_error *err);

/* Text as a JSON string with its quotes; bytes that are no UTF-8 become U+FFFD. */
void mg_print_json_text(FILE *to, struct mg_slice text);

#endif
