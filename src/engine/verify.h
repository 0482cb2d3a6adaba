/* verify.h -- what a source's changes say must be stored, against what is: counts, and the first contradictions in
 * words. What all engines share.
 *
 * An INSERT says that no row has the key, UPDATE and DELETE that one has; an old image says what that row holds. Values
 * compare as values: floats as numbers, JSON without the blanks between its tokens, all else by its bytes.
 * Threads  a struct mg_verify belongs to whoever has it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_VERIFY_H
#define MG_ENGINE_VERIFY_H

#include "engine/engine.h"

/* "an INSERT of a row that is there" */
const char *mg_verify_sentence(enum mg_verify_kind kind);
/* Of all kinds. */
uint64_t mg_verify_failed(const struct mg_verify *verify);
/* What the op contradicts when a row is there (or not); MG_VERIFY_KINDS: nothing. */
enum mg_verify_kind mg_verify_op(enum mg_change_op op, bool is_there);
/* Count a contradiction by that row of the changes; the first ones are kept in words, with the row's key. */
void mg_verify_note(struct mg_verify *verify, enum mg_verify_kind kind, const struct mg_schema *schema,
                    const struct mg_changes *changes, uint32_t row);
/* The stored value of a column against that of old image `image`: false, and noted, when they differ. */
bool mg_verify_value(struct mg_verify *verify, const struct mg_schema *schema, const struct mg_changes *changes,
                     uint32_t image, uint32_t column, const struct mg_value *stored);
/* "since 2026-11-21 17:30:00 UTC (epoch 12), 3 changes: " and the first in words. */
void mg_verify_reason(const struct mg_verify *verify, char *text, size_t size);
/* Both one behind the other: counts are added, words kept while there is room. */
void mg_verify_add(struct mg_verify *verify, const struct mg_verify *more);
/* MG_INVALID for old images that do not fit the changes and the schema. */
MG_MUST_CHECK enum mg_code mg_verify_check(const struct mg_schema *schema, const struct mg_changes *changes,
                                           struct mg_error *err);

#endif
