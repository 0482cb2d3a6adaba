/* sketch.h -- about how many different values a column has (HyperLogLog), for the optimizers of readers.
 *
 * 4,096 registers of 6 bits, kept as bytes: a standard error of 1.6 %. Sketches of parts merge by maximum, so a table's
 * count costs no scan.
 * Source   Flajolet, Fusy, Gandouet, Meunier 2007; bias correction for small counts by linear counting.
 * Threads  values; a sketch belongs to one thread while it is filled.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_PART_SKETCH_H
#define MG_PART_SKETCH_H

#include "column/batch.h"

enum { MG_SKETCH_REGISTERS = 4096 };

struct mg_sketch {
    uint8_t registers[MG_SKETCH_REGISTERS];
};

/* Values that are not NULL; text under PAD_SPACE without trailing blanks. */
void mg_sketch_add(struct mg_sketch *sketch, const struct mg_vector *rows);
void mg_sketch_merge(struct mg_sketch *into, const struct mg_sketch *from);
uint64_t mg_sketch_count(const struct mg_sketch *sketch);

#endif
