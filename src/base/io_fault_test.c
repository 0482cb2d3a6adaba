/* io_fault_test.c -- the disk of the tests fails, tears and loses as its head comment says.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/io_fault.h"
#include "base/testing.h"

struct disk {
    struct mg_io_fault *fault;
    struct mg_io *io;
};

static struct disk new_disk(uint64_t seed)
{
    struct mg_error err = MG_ERROR_INIT;
    struct disk disk = {.fault = mg_io_fault_new(seed)};
    disk.io = mg_io_fault_io(disk.fault);
    assert_ok(mg_io_make_folders(disk.io, "d", &err));
    return disk;
}

/* A durable file of `sectors` sectors, each filled with its number + 1. */
static struct mg_file *durable_file(struct disk disk, const char *path, int sectors)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_file *file;
    char sector[512];
    assert_ok(mg_io_open(disk.io, path, MG_OPEN_CREATE_NEW, &file, &err));
    for (int i = 0; i < sectors; i++) {
        memset(sector, i + 1, sizeof sector);
        assert_ok(mg_file_pwrite(file, sector, sizeof sector, (uint64_t)i * 512, &err));
    }
    assert_ok(mg_file_sync(file, &err));
    assert_ok(disk.io->ops->sync_folder(disk.io, "d", &err));
    return file;
}

static void test_failing_calls(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct disk disk = new_disk(1);
    struct mg_file *file = durable_file(disk, "d/f", 1);
    uint64_t before = mg_io_fault_calls(disk.fault, MG_FAULT_WRITE);
    mg_io_fault_fail(disk.fault, MG_FAULT_WRITE, 2, ENOSPC, false);
    assert_ok(mg_file_pwrite(file, "x", 1, 0, &err));
    assert_code(MG_NO_SPACE, mg_file_pwrite(file, "x", 1, 0, &err));
    assert_ok(mg_file_pwrite(file, "x", 1, 0, &err));
    assert_int_equal(mg_io_fault_calls(disk.fault, MG_FAULT_WRITE), before + 3);
    mg_io_fault_fail(disk.fault, MG_FAULT_SYNC | MG_FAULT_NAME, 1, EIO, true);
    assert_code(MG_IO, mg_file_sync(file, &err));
    assert_code(MG_IO, disk.io->ops->unlink(disk.io, "d/f", &err));
    assert_ok(mg_file_pwrite(file, "x", 1, 0, &err));
    mg_io_fault_heal(disk.fault);
    assert_ok(mg_file_sync(file, &err));
    mg_file_close(file);
    mg_io_fault_free(disk.fault);
}

/* A failing write leaves a prefix: over many seeds each length. */
static void test_torn_write(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int lengths[5] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct disk disk = new_disk(seed);
        struct mg_file *file = durable_file(disk, "d/f", 1);
        char bytes[4];
        mg_io_fault_fail(disk.fault, MG_FAULT_WRITE, 1, EIO, false);
        assert_code(MG_IO, mg_file_pwrite(file, "\xff\xff\xff\xff", 4, 0, &err));
        assert_ok(mg_file_pread(file, bytes, 4, 0, &err));
        int length = 0;
        for (int i = 0; i < 4; i++) {
            if (bytes[i] == '\xff')
                length = i + 1;
            else
                assert_int_equal(bytes[i], 1);
        }
        lengths[length]++;
        mg_file_close(file);
        mg_io_fault_free(disk.fault);
    }
    for (size_t i = 0; i < MG_COUNT_OF(lengths); i++)
        assert_true(lengths[i] > 0);
}

/* Each sector of an unsynced write is old or new; both happen; what was synced stays. */
static void test_power_cut(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int old_count = 0, new_count = 0, short_count = 0, long_count = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct disk disk = new_disk(seed);
        struct mg_file *file = durable_file(disk, "d/f", 8);
        char all[4096 + 1024];
        memset(all, 0x77, sizeof all);
        assert_ok(mg_file_pwrite(file, all, sizeof all, 0, &err));
        mg_io_fault_crash(disk.fault, seed % 4 ? MG_LOSE_SOME : MG_LOSE_ALL);
        assert_code(MG_IO, mg_file_pread(file, all, 1, 0, &err));
        mg_file_closep(&file);
        assert_ok(mg_io_open(disk.io, "d/f", MG_OPEN_WRITE, &file, &err));
        uint64_t size;
        assert_ok(mg_file_size(file, &size, &err));
        assert_true(size == 4096 || size == sizeof all);
        *(size == 4096 ? &short_count : &long_count) += 1;
        assert_ok(mg_file_pread(file, all, 4096, 0, &err));
        for (int i = 0; i < 8; i++) {
            bool is_new = all[i * 512] == 0x77;
            for (int k = 0; k < 512; k++)
                assert_int_equal(all[i * 512 + k], is_new ? 0x77 : i + 1);
            assert_false(is_new && seed % 4 == 0);
            *(is_new ? &new_count : &old_count) += 1;
        }
        mg_file_close(file);
        mg_io_fault_free(disk.fault);
    }
    assert_true(old_count > 100 && new_count > 100 && short_count > 10 && long_count > 10);
}

/* Sectors that a power cut tears are new up to a byte and old behind it; old ones, new ones and torn ones all
 * happen. */
static void test_torn_sectors(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int old_count = 0, new_count = 0, torn_count = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct disk disk = new_disk(seed);
        struct mg_file *file = durable_file(disk, "d/f", 8);
        char all[4096];
        memset(all, 0x77, sizeof all);
        assert_ok(mg_file_pwrite(file, all, sizeof all, 0, &err));
        mg_io_fault_crash(disk.fault, MG_LOSE_TORN);
        mg_file_closep(&file);
        assert_ok(mg_io_open(disk.io, "d/f", MG_OPEN_READ, &file, &err));
        assert_ok(mg_file_pread(file, all, sizeof all, 0, &err));
        for (int i = 0; i < 8; i++) {
            int cut = 0;
            while (cut < 512 && all[i * 512 + cut] == 0x77)
                cut++;
            for (int k = cut; k < 512; k++)
                assert_int_equal(all[i * 512 + k], i + 1);
            *(cut == 0 ? &old_count : cut == 512 ? &new_count : &torn_count) += 1;
        }
        mg_file_close(file);
        mg_io_fault_free(disk.fault);
    }
    assert_true(old_count > 40 && new_count > 40 && torn_count > 20);
}

/* All that was written is there, in order, up to the byte where the write was cut under which the power failed. */
static void test_cut_in_a_write(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    for (uint64_t cut = 0; cut < 6; cut++) {
        struct disk disk = new_disk(1);
        struct mg_file *file = durable_file(disk, "d/f", 1);
        char bytes[9];
        assert_ok(mg_file_pwrite(file, "1234", 4, 0, &err));
        mg_io_fault_tear(disk.fault, cut);
        mg_io_fault_fail(disk.fault, MG_FAULT_WRITE, 1, EIO, true);
        assert_int_equal(mg_io_fault_torn_bytes(disk.fault), 0);
        assert_code(MG_IO, mg_file_pwrite(file, "abcd", 4, 4, &err));
        assert_int_equal(mg_io_fault_torn_bytes(disk.fault), 4);
        mg_io_fault_crash(disk.fault, MG_LOSE_LATER);
        mg_io_fault_crash(disk.fault, MG_LOSE_ALL); /* it is on the disk */
        mg_file_closep(&file);
        assert_ok(mg_io_open(disk.io, "d/f", MG_OPEN_READ, &file, &err));
        assert_ok(mg_file_pread(file, bytes, 9, 0, &err));
        char expected[9] = "1234abcd\x01";
        memset(expected + 4 + MG_MIN(cut, (uint64_t)3), 1, 4 - (size_t)MG_MIN(cut, (uint64_t)3));
        assert_memory_equal(bytes, expected, 9);
        mg_file_close(file);
        mg_io_fault_free(disk.fault);
    }
}

/* A sync that failed forgets what was waiting: the next one succeeds and saves nothing. */
static void test_failed_sync_forgets(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int lost = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct disk disk = new_disk(seed);
        struct mg_file *file = durable_file(disk, "d/f", 1);
        char byte;
        assert_ok(mg_file_pwrite(file, "N", 1, 0, &err));
        mg_io_fault_fail(disk.fault, MG_FAULT_SYNC, 1, EIO, false);
        assert_code(MG_IO, mg_file_sync(file, &err));
        assert_ok(mg_file_sync(file, &err));
        assert_ok(mg_file_pread(file, &byte, 1, 0, &err));
        assert_int_equal(byte, 'N');
        mg_io_fault_crash(disk.fault, MG_LOSE_ALL);
        mg_file_closep(&file);
        assert_ok(mg_io_open(disk.io, "d/f", MG_OPEN_READ, &file, &err));
        assert_ok(mg_file_pread(file, &byte, 1, 0, &err));
        lost += byte != 'N';
        mg_file_close(file);
        mg_io_fault_free(disk.fault);
    }
    assert_in_range(lost, 1, 19);
}

static bool exists(struct disk disk, const char *path)
{
    struct mg_file *file = NULL;
    enum mg_code code = mg_io_open(disk.io, path, MG_OPEN_READ, &file, NULL);
    mg_file_close(file);
    return code == MG_OK;
}

static void test_names(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int renamed = 0, kept = 0, created = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct disk disk = new_disk(seed);
        mg_file_close(durable_file(disk, "d/old", 1));
        assert_ok(disk.io->ops->rename(disk.io, "d/old", "d/new", &err));
        struct mg_file *file;
        assert_ok(mg_io_open(disk.io, "d/fresh", MG_OPEN_CREATE, &file, &err));
        mg_file_close(file);
        assert_true(exists(disk, "d/new") && exists(disk, "d/fresh") && !exists(disk, "d/old"));
        mg_io_fault_crash(disk.fault, MG_LOSE_NONE);
        assert_true(exists(disk, "d/new") && exists(disk, "d/fresh"));
        mg_io_fault_crash(disk.fault, MG_LOSE_SOME);
        assert_true(exists(disk, "d/new") != exists(disk, "d/old"));
        *(exists(disk, "d/new") ? &renamed : &kept) += 1;
        created += exists(disk, "d/fresh");
        mg_io_fault_free(disk.fault);
    }
    assert_true(renamed > 5 && kept > 5 && created > 5 && created < 55);

    struct disk disk = new_disk(1);
    mg_file_close(durable_file(disk, "d/a", 1));
    assert_ok(disk.io->ops->unlink(disk.io, "d/a", &err));
    mg_io_fault_crash(disk.fault, MG_LOSE_ALL);
    assert_true(exists(disk, "d/a"));
    assert_ok(disk.io->ops->unlink(disk.io, "d/a", &err));
    assert_ok(disk.io->ops->sync_folder(disk.io, "d", &err));
    mg_io_fault_crash(disk.fault, MG_LOSE_ALL);
    assert_false(exists(disk, "d/a"));
    mg_io_fault_free(disk.fault);
}

static void test_capacity(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct disk disk = new_disk(1);
    struct mg_file *file = durable_file(disk, "d/f", 2);
    mg_io_fault_set_capacity(disk.fault, 2000);
    assert_code(MG_NO_SPACE, mg_file_allocate(file, 2001, &err));
    assert_ok(mg_file_allocate(file, 2000, &err));
    assert_code(MG_NO_SPACE, mg_file_pwrite(file, "xx", 2, 1999, &err));
    assert_ok(mg_file_pwrite(file, "xx", 2, 1998, &err));
    uint64_t left;
    assert_ok(disk.io->ops->free_space(disk.io, "d", &left, &err));
    assert_int_equal(left, 0);
    assert_true(mg_io_fault_flip_bit(disk.fault, "d/f", 512, 0));
    assert_false(mg_io_fault_flip_bit(disk.fault, "d/f", 2000, 0));
    char byte;
    assert_ok(mg_file_pread(file, &byte, 1, 512, &err));
    assert_int_equal(byte, 3);
    mg_file_close(file);
    assert_ok(disk.io->ops->unlink(disk.io, "d/f", &err));
    assert_ok(disk.io->ops->sync_folder(disk.io, "d", &err));
    assert_ok(disk.io->ops->free_space(disk.io, "d", &left, &err));
    assert_int_equal(left, 2000);
    mg_io_fault_free(disk.fault);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_calls),  cmocka_unit_test(test_torn_write),
        cmocka_unit_test(test_power_cut),      cmocka_unit_test(test_torn_sectors),
        cmocka_unit_test(test_cut_in_a_write), cmocka_unit_test(test_failed_sync_forgets),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
