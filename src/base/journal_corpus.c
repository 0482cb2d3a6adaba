/* journal_corpus.c -- makes tests/fuzz/corpus/journal: segment files, whole, torn and damaged. Repeatable: a fixed
 * salt.
 *
 * Usage: journal_corpus FOLDER
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/journal_internal.h"

/* Those of journal_fuzz.c. */
static const struct mg_journal_options options = {
    .magic = {'T', 'E', 'S', 'T', 'L', 'O', 'G', '\n'}, .format_version = 3, .store_id = 0x1122334455667788};

enum { SALT = 0x5a17, FILE_MAX = 16384, RECORDS_MAX = 16 };

/* One segment file in the making. */
struct image {
    uint8_t bytes[FILE_MAX];
    size_t size; /* what is written to the file */
    size_t end;  /* behind the last record */
    uint64_t last_seq;
    size_t starts[RECORDS_MAX + 1]; /* starts[n]: where record n begins */
};

static void start(struct image *image)
{
    memset(image, 0, sizeof *image);
    struct mg_journal__header header = {.first_seq = 1, .salt = SALT};
    mg_journal__encode_header(&options, &header, image->bytes);
    image->size = FILE_MAX;
    image->end = MG_JOURNAL__SEGMENT_HEADER;
}

static void add_numbered(struct image *image, uint64_t seq, uint64_t synced_seq, size_t size)
{
    struct iovec scratch[2], piece;
    uint8_t payload[FILE_MAX];
    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)('a' + (seq + i) % 26);
    piece = (struct iovec){payload, size};
    mg_journal__encode_record(seq, synced_seq, &piece, 1, SALT, scratch, image->bytes + image->end);
    memcpy(image->bytes + image->end + MG_JOURNAL__RECORD_HEADER, payload, size);
    if (seq <= RECORDS_MAX)
        image->starts[seq] = image->end;
    image->end += (size_t)mg_journal__round(MG_JOURNAL__RECORD_HEADER + size);
    image->last_seq = seq;
}

static void add(struct image *image, uint64_t synced_seq, size_t size)
{
    add_numbered(image, image->last_seq + 1, synced_seq, size);
}

/* Three records: 1 and 2 synced one by one, 3 in two sectors. */
static void start_three(struct image *image)
{
    start(image);
    add(image, 0, 100);
    add(image, 1, 10);
    add(image, 2, 700);
}

static void save(const struct image *image, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(image->bytes, 1, image->size, file) != image->size || fclose(file)) {
        fprintf(stderr, "cannot write %s\n", path);
        exit(1);
    }
}

static void whole_files(struct image *image, const char *folder)
{
    start(image);
    image->size = 0;
    save(image, folder, "empty");
    image->size = 100;
    save(image, folder, "header-cut");
    image->size = MG_JOURNAL__SEGMENT_HEADER;
    save(image, folder, "header-only");
    image->size = 4096;
    save(image, folder, "no-record");
    start_three(image);
    image->size = 4096;
    save(image, folder, "three-records");
    image->size = image->end;
    save(image, folder, "no-room-left");
    image->size = image->end - 200;
    save(image, folder, "padding-missing");
    start(image);
    for (int i = 0; i < RECORDS_MAX; i++)
        add(image, (uint64_t)i / 4 * 4, (size_t)i * 11);
    save(image, folder, "groups-of-four");
    start(image);
    for (int i = 0; i < 3; i++)
        add(image, 0, 0);
    image->size = 4096;
    save(image, folder, "records-without-bytes");
    start(image);
    add(image, 0, FILE_MAX - MG_JOURNAL__SEGMENT_HEADER - MG_JOURNAL__RECORD_HEADER);
    save(image, folder, "one-record-fills-it");
}

static void torn_files(struct image *image, const char *folder)
{
    start_three(image);
    image->size = 4096;
    memset(image->bytes + image->starts[3] + 512, 0, 512);
    save(image, folder, "torn-second-sector");
    start_three(image);
    image->size = 4096;
    memset(image->bytes + image->starts[3], 0, 512);
    save(image, folder, "torn-first-sector");
    start_three(image);
    image->size = image->starts[3] + 20;
    save(image, folder, "file-ends-in-record-header");
    image->size = image->starts[3] + 300;
    save(image, folder, "file-ends-in-payload");
    start(image);
    add(image, 0, 100);
    add(image, 1, 100);
    add(image, 1, 100);
    image->size = 4096;
    memset(image->bytes + image->starts[2], 0, 512);
    save(image, folder, "lost-in-the-middle");
    start_three(image);
    image->size = 4096;
    image->bytes[image->end + 700] = 1;
    save(image, folder, "stray-byte-behind");
}

static void damaged_files(struct image *image, const char *folder)
{
    static const struct {
        const char *name;
        size_t record, at; /* record 0: at is an offset in the file */
    } flips[] = {
        {"damaged-magic", 0, 0},       {"damaged-frame-version", 0, 8}, {"damaged-store-id", 0, 16},
        {"damaged-salt", 0, 40},       {"damaged-marker", 1, 0},        {"damaged-length", 1, 4},
        {"damaged-high-length", 1, 7}, {"damaged-seq", 2, 8},           {"damaged-synced-seq", 2, 16},
        {"damaged-checksum", 2, 24},   {"damaged-payload", 1, 60},      {"damaged-last", 3, 100},
    };
    for (size_t i = 0; i < MG_COUNT_OF(flips); i++) {
        start_three(image);
        image->size = 4096;
        image->bytes[(flips[i].record ? image->starts[flips[i].record] : 0) + flips[i].at] ^= 0x40;
        save(image, folder, flips[i].name);
    }
    start_three(image);
    image->size = 4096;
    add_numbered(image, 2, 1, 10);
    save(image, folder, "number-again");
    start_three(image);
    image->size = 4096;
    add_numbered(image, 9, 8, 10);
    save(image, folder, "numbers-missing");
    start_three(image);
    image->size = 4096;
    add_numbered(image, 4, 4, 10);
    save(image, folder, "synced-before-itself");
}

int main(int argc, char **argv)
{
    static struct image image;
    if (argc != 2) {
        fprintf(stderr, "usage: journal_corpus FOLDER\n");
        return 2;
    }
    whole_files(&image, argv[1]);
    torn_files(&image, argv[1]);
    damaged_files(&image, argv[1]);
    return 0;
}
