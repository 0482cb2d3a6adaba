/* journal_fuzz.c -- a journal whose newest segment has arbitrary bytes: opened, read, appended to, opened again.
 *
 * Each input runs twice: as it is, and with every checksum that stands where a record or the header does made right,
 * so that a fuzzer gets behind them. Whatever the bytes are, an open says MG_OK, MG_CORRUPT or MG_UNIMPLEMENTED, and
 * what it accepts can be read to its end, appended to and found again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/io_fault.h"
#include "base/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MAX = 1 << 20, HEADER = 512, CHECKSUM_AT = 504, SALT_AT = 40, RECORD_HEADER = 32 };

static const struct mg_journal_options options = {
    .folder = "d",
    .suffix = "wal",
    .magic = {'T', 'E', 'S', 'T', 'L', 'O', 'G', '\n'},
    .format_version = 3,
    .store_id = 0x1122334455667788,
    .segment_bytes = 16384,
    .record_max = 100000,
};

static void repair_checksums(uint8_t *bytes, size_t size)
{
    if (size < HEADER)
        return;
    mg_store_le64(bytes + CHECKSUM_AT, mg_hash(bytes, CHECKSUM_AT, 0));
    uint64_t salt = mg_load_le64(bytes + SALT_AT);
    for (size_t at = HEADER; at + RECORD_HEADER <= size;) {
        uint64_t length = mg_load_le32(bytes + at + 4);
        if (memcmp(bytes + at, "mgR1", 4) != 0 || length > size - at - RECORD_HEADER) {
            at += MG_JOURNAL_ALIGN;
            continue;
        }
        struct iovec pieces[] = {{bytes + at, 24}, {bytes + at + RECORD_HEADER, length}};
        mg_store_le64(bytes + at + 24, mg_hash_pieces(pieces, 2, salt));
        at += (RECORD_HEADER + length + MG_JOURNAL_ALIGN - 1) / MG_JOURNAL_ALIGN * MG_JOURNAL_ALIGN;
    }
}

/* Reads all, from the first record on; returns the last number. */
static uint64_t read_all(struct mg_journal *journal)
{
    struct mg_journal_cursor *cursor;
    uint64_t want = mg_journal_first(journal), last = mg_journal_last(journal), seq;
    struct mg_slice bytes;
    mg_assert(mg_journal_cursor_open(journal, want, &cursor, NULL) == MG_OK);
    for (; want <= last; want++) {
        mg_assert(mg_journal_cursor_next(cursor, &seq, &bytes, NULL) == MG_OK);
        mg_assert(seq == want && bytes.size <= options.record_max);
    }
    mg_assert(mg_journal_cursor_next(cursor, &seq, &bytes, NULL) == MG_NOT_FOUND);
    mg_journal_cursor_close(cursor);
    return last;
}

static void open_and_use(struct mg_io *io)
{
    struct mg_journal *journal = NULL;
    struct mg_error err = MG_ERROR_INIT;
    enum mg_code code = mg_journal_open(io, &options, &journal, &err);
    mg_assert(code == MG_OK || code == MG_CORRUPT || code == MG_UNIMPLEMENTED);
    if (code != MG_OK) {
        mg_assert(err.code == code && err.text[0]);
        return;
    }
    uint64_t last = read_all(journal), seq;
    char text[] = "one more";
    struct iovec piece = {text, sizeof text};
    mg_assert(mg_journal_append(journal, &piece, 1, &seq, NULL) == MG_OK && seq == last + 1);
    mg_assert(mg_journal_sync(journal, &seq, NULL) == MG_OK && seq == last + 1);
    mg_assert(read_all(journal) == last + 1);
    mg_journal_close(journal);
    mg_assert(mg_journal_open(io, &options, &journal, NULL) == MG_OK);
    mg_assert(read_all(journal) == last + 1);
    mg_journal_close(journal);
}

static void run(const uint8_t *data, size_t size)
{
    struct mg_io_fault *fault = mg_io_fault_new(1);
    struct mg_io *io = mg_io_fault_io(fault);
    struct mg_file *file;
    mg_assert(mg_io_make_folders(io, "d", NULL) == MG_OK);
    mg_assert(mg_io_open(io, "d/0000000000000001.wal", MG_OPEN_CREATE, &file, NULL) == MG_OK);
    mg_assert(mg_file_pwrite(file, data, size, 0, NULL) == MG_OK);
    mg_file_close(file);
    open_and_use(io);
    mg_io_fault_free(fault);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FILE_MAX)
        return 0;
    run(data, size);
    uint8_t *repaired = malloc(size + 1);
    mg_assert(repaired);
    if (size)
        memcpy(repaired, data, size);
    repair_checksums(repaired, size);
    run(repaired, size);
    free(repaired);
    return 0;
}
