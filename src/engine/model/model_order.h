/* model_order.h -- ordered rows of the oracle, in the slow and obvious way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MODEL_ORDER_H
#define MG_ENGINE_MODEL_ORDER_H

#include "engine/engine.h"

/* The first spec->limit rows of batches that hold all columns of the schema, with the columns of spec. *out NULL: there
 * are none. */
MG_MUST_CHECK enum mg_code mg_model__order(const struct mg_scan_spec *spec, struct mg_batch *const *batches,
                                           size_t batch_count, struct mg_budget *budget, struct mg_batch **out,
                                           struct mg_error *err);

#endif
