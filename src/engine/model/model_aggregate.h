/* model_aggregate.h -- aggregates of the oracle, in the slow and obvious way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_ENGINE_MODEL_AGGREGATE_H
#define MG_ENGINE_MODEL_AGGREGATE_H

#include "engine/engine.h"

/* Over batches that hold all columns of the schema. *out NULL: there is no result. */
MG_MUST_CHECK enum mg_code mg_model__aggregate(const struct mg_aggregate *aggregate, struct mg_batch *const *batches,
                                               size_t batch_count, struct mg_budget *budget, struct mg_batch **out,
                                               struct mg_error *err);

#endif
