/* load_file.h -- the rows of a file as batches: Arrow's stream and file formats, and through pyarrow Parquet and CSV.
 *
 * Threads  a file belongs to one thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_CLI_LOAD_FILE_H
#define MG_CLI_LOAD_FILE_H

#include "column/batch.h"
#include "column/ipc.h"

struct mg_load_file;

/* What it is shows in its first bytes; CSV in its name. Errors name the file. */
MG_MUST_CHECK enum mg_code mg_load_file_open(const char *path, struct mg_load_file **out, struct mg_error *err);
void mg_load_file_close(struct mg_load_file *file); /* also ends a child process; NULL is allowed */
void mg_load_file_closep(struct mg_load_file **file);
/* Borrowed until close. */
const struct mg_field *mg_load_file_fields(const struct mg_load_file *file, uint32_t *out_count);
/* The next batch, perhaps without rows; NULL at the end. */
MG_MUST_CHECK enum mg_code mg_load_file_next(struct mg_load_file *file, struct mg_batch **out, struct mg_error *err);
/* From 0 to 1; below 0: not known. */
double mg_load_file_progress(const struct mg_load_file *file);

#endif
