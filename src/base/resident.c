/* resident.c -- the process's anonymous memory, and giving back what the allocator keeps of it.
 *
 * Source   proc(5), statm: resident less shared pages are the anonymous ones; malloc_trim(3).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/resident.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/counter.h"

size_t mg_resident_bytes(void)
{
    char text[128];
    unsigned long long pages, shared;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    if (sscanf(text, "%*u %llu %llu", &pages, &shared) != 2 || shared > pages)
        return 0;
    return (size_t)(pages - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

void mg_resident_trim(void)
{
    mg_count(memory_trims, 1);
    malloc_trim(0);
}
