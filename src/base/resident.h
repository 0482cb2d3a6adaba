/* resident.h -- the process's anonymous memory, and giving back what the allocator keeps of it.
 *
 * glibc keeps what is freed between pieces in use, and counts it to nobody: rows that are freed by the ten thousand
 * leave gaps between blocks that stay. A limit of accounted memory (budget.h) holds the process only when the gaps are
 * given back now and then.
 * Threads  all calls from any thread.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MG_BASE_RESIDENT_H
#define MG_BASE_RESIDENT_H

#include <stddef.h>

/* Bytes of anonymous memory that the process has pages for; 0 when /proc does not tell. */
size_t mg_resident_bytes(void);
/* Gives free pages between pieces in use back to the kernel. Allocations of other threads wait for their part of it. */
void mg_resident_trim(void);

#endif
