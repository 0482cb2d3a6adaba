/* io_test.c -- both implementations of the seam keep its contract; small files are replaced as one step.
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>

#include "base/io_fault.h"
#include "base/testing.h"

static enum mg_code count_name(void *arg, const char *name, struct mg_error *err)
{
    (*(int *)arg)++;
    return strcmp(name, "stop") == 0 ? mg_fail(err, MG_CANCELLED, "enough") : MG_OK;
}

/* Written around the page cache as long as it can be, it holds the same bytes. */
static void check_direct(struct mg_io *io, const char *folder)
{
    enum { PAGE = MG_IO_DIRECT_ALIGN, SIZE = 8 * PAGE + 700 };
    struct mg_error err = MG_ERROR_INIT;
    struct mg_file *file = NULL;
    char path[300];
    uint8_t *bytes = aligned_alloc(PAGE, 10 * PAGE), *read = malloc(SIZE);
    uint64_t size;
    snprintf(path, sizeof path, "%s/direct", folder);
    for (size_t i = 0; i < 10 * PAGE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 255);
    for (int round = 0; round < 3; round++) {
        assert_ok(mg_io_open(io, path, MG_OPEN_CREATE_DIRECT, &file, &err));
        assert_code(MG_EXISTS, mg_io_open(io, path, MG_OPEN_CREATE_DIRECT, &(struct mg_file *){NULL}, &err));
        if (round == 0) { /* pages, then pages and a rest */
            assert_ok(mg_file_pwrite(file, bytes, 3 * PAGE, 0, &err));
            assert_ok(mg_file_pwrite(file, bytes + 3 * PAGE, SIZE - 3 * PAGE, 3 * PAGE, &err));
        } else if (round == 1) { /* one page, memory that is not aligned, a place that is not, pages again */
            assert_ok(mg_file_pwrite(file, bytes, PAGE, 0, &err));
            memcpy(read, bytes + PAGE, PAGE + 10);
            assert_ok(mg_file_pwrite(file, read, PAGE + 10, PAGE, &err));
            assert_ok(mg_file_pwrite(file, bytes + 2 * PAGE + 10, 2 * PAGE - 10, 2 * PAGE + 10, &err));
            assert_ok(mg_file_pwrite(file, bytes + 4 * PAGE, 4 * PAGE, 4 * PAGE, &err));
            assert_ok(mg_file_pwrite(file, bytes + 8 * PAGE, 700, 8 * PAGE, &err));
        } else { /* less than a page, and several pieces */
            struct iovec pieces[2] = {{bytes + 100, PAGE}, {bytes + 100 + PAGE, SIZE - 100 - PAGE}};
            assert_ok(mg_file_pwrite(file, bytes, 100, 0, &err));
            assert_ok(mg_file_pwritev(file, pieces, 2, 100, &err));
        }
        assert_ok(mg_file_sync(file, &err));
        assert_ok(mg_file_size(file, &size, &err));
        assert_int_equal(size, SIZE);
        assert_ok(mg_file_pread(file, read, SIZE, 0, &err));
        assert_memory_equal(read, bytes, SIZE);
        mg_file_closep(&file);
        assert_ok(io->ops->unlink(io, path, &err));
    }
    free(bytes);
    free(read);
}

/* What io.h promises, for any implementation; `folder` exists and is empty. */
static void check_contract(struct mg_io *io, const char *folder)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_file *file = NULL, *again = NULL;
    char path[300], other[300], bytes[10000], read[10000];
    uint64_t size;
    int names = 0;
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other, sizeof other, "%s/b", folder);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);

    check_direct(io, folder);
    assert_code(MG_NOT_FOUND, mg_io_open(io, path, MG_OPEN_READ, &file, &err));
    assert_code(MG_NOT_FOUND, mg_io_open(io, path, MG_OPEN_WRITE, &file, &err));
    assert_null(file);
    assert_ok(mg_io_open(io, path, MG_OPEN_CREATE_NEW, &file, &err));
    assert_code(MG_EXISTS, mg_io_open(io, path, MG_OPEN_CREATE_NEW, &again, &err));

    struct iovec pieces[200];
    for (size_t i = 0; i < MG_COUNT_OF(pieces); i++)
        pieces[i] = (struct iovec){bytes + i * 50, 50};
    pieces[3].iov_len = 0;
    pieces[4] = (struct iovec){bytes + 150, 100};
    assert_ok(mg_file_pwritev(file, pieces, MG_COUNT_OF(pieces), 100, &err));
    assert_ok(mg_file_pwritev(file, pieces, 0, 100, &err));
    assert_ok(mg_file_size(file, &size, &err));
    assert_int_equal(size, 10100);
    assert_ok(mg_file_pread(file, read, 10000, 100, &err));
    assert_memory_equal(read, bytes, 10000);
    assert_ok(mg_file_pread(file, read, 0, 100, &err));
    assert_code(MG_CORRUPT, mg_file_pread(file, read, 101, 10000, &err));
    assert_non_null(strstr(err.text, path));

    assert_ok(mg_file_allocate(file, 20000, &err));
    assert_ok(mg_file_allocate(file, 5, &err));
    assert_ok(mg_file_size(file, &size, &err));
    assert_int_equal(size, 20000);
    assert_ok(mg_file_pread(file, read, 9900, 10100, &err));
    for (size_t i = 0; i < 9900; i++)
        assert_int_equal(read[i], 0);
    assert_ok(mg_file_truncate(file, 150, &err));
    assert_ok(mg_file_allocate(file, 300, &err));
    assert_ok(mg_file_pread(file, read, 150, 150, &err));
    for (size_t i = 0; i < 150; i++)
        assert_int_equal(read[i], 0);
    assert_ok(mg_file_sync(file, &err));

    assert_ok(mg_io_open(io, path, MG_OPEN_WRITE, &again, &err));
    assert_ok(mg_file_lock(file, &err));
    assert_ok(mg_file_lock(file, &err));
    assert_code(MG_BUSY, mg_file_lock(again, &err));
    mg_file_closep(&file);
    assert_ok(mg_file_lock(again, &err));
    mg_file_closep(&again);
    mg_file_closep(&again);

    assert_ok(io->ops->rename(io, path, other, &err));
    assert_code(MG_IO, io->ops->rename(io, path, other, &err));
    assert_ok(io->ops->sync_folder(io, folder, &err));
    assert_ok(io->ops->list(io, folder, count_name, &names, &err));
    assert_int_equal(names, 1);
    assert_ok(io->ops->unlink(io, other, &err));
    assert_code(MG_NOT_FOUND, io->ops->unlink(io, other, &err));

    snprintf(path, sizeof path, "%s/x//y/z", folder);
    assert_ok(mg_io_make_folders(io, path, &err));
    assert_ok(mg_io_make_folders(io, path, &err));
    snprintf(path, sizeof path, "%s/x/y/z", folder);
    assert_ok(mg_io_write_file(io, path, "stop", mg_slice_text("one"), &err));
    assert_code(MG_CANCELLED, io->ops->list(io, path, count_name, &names, &err));
    assert_ok(mg_io_write_file(io, path, "stop", mg_slice_text(""), &err));
    assert_ok(mg_io_write_file(io, path, "stop", mg_slice_text("two!"), &err));
    struct mg_buffer buffer;
    mg_buffer_init(&buffer, 5);
    snprintf(other, sizeof other, "%s/stop", path);
    assert_ok(mg_io_read_file(io, other, &buffer, &err));
    assert_true(mg_slice_equal(mg_buffer_slice(&buffer), mg_slice_text("two!")));
    assert_code(MG_TOO_BIG, mg_io_read_file(io, other, &buffer, &err));
    mg_buffer_clear(&buffer);
    snprintf(other, sizeof other, "%s/none", path);
    assert_code(MG_NOT_FOUND, mg_io_read_file(io, other, &buffer, &err));
    assert_code(MG_NOT_FOUND, io->ops->list(io, other, count_name, &names, &err));
    uint64_t free_bytes;
    assert_ok(io->ops->free_space(io, folder, &free_bytes, &err));
    assert_ok(io->ops->disk_size(io, folder, &size, &err));
    assert_true(size > 0 && free_bytes <= size);
    assert_true(size > 0);
}

static void test_system(void **state)
{
    char *folder = make_folder();
    check_contract(mg_io_system(), folder);
    remove_folder(folder);
}

static void test_fault(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_io_fault *fault = mg_io_fault_new(1);
    assert_ok(mg_io_make_folders(mg_io_fault_io(fault), "d", &err));
    check_contract(mg_io_fault_io(fault), "d");
    mg_io_fault_free(fault);
}

/* Whatever call fails or loses power, the file is the old one or the new one, and after success the new one. */
static void test_write_file_is_one_step(void **state)
{
    struct mg_error err = MG_ERROR_INIT;
    int failures = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct mg_io_fault *fault = mg_io_fault_new(seed);
        struct mg_io *io = mg_io_fault_io(fault);
        char old_text[3000], new_text[5000];
        memset(old_text, 'o', sizeof old_text);
        memset(new_text, 'n', sizeof new_text);
        assert_ok(mg_io_make_folders(io, "d", &err));
        assert_ok(mg_io_write_file(io, "d", "f", MG_SLICE(old_text, sizeof old_text), &err));
        mg_io_fault_fail(fault, MG_FAULT_ANY, 1 + seed % 10, EIO, true);
        enum mg_code code = mg_io_write_file(io, "d", "f", MG_SLICE(new_text, sizeof new_text), NULL);
        failures += code != MG_OK;
        mg_io_fault_crash(fault, seed % 3 == 0 ? MG_LOSE_ALL : MG_LOSE_SOME);
        struct mg_buffer buffer;
        mg_buffer_init(&buffer, sizeof new_text);
        assert_ok(mg_io_read_file(io, "d/f", &buffer, &err));
        bool is_new = mg_slice_equal(mg_buffer_slice(&buffer), MG_SLICE(new_text, sizeof new_text));
        assert_true(is_new || mg_slice_equal(mg_buffer_slice(&buffer), MG_SLICE(old_text, sizeof old_text)));
        assert_true(is_new || code != MG_OK);
        mg_buffer_clear(&buffer);
        mg_io_fault_free(fault);
    }
    assert_in_range(failures, 100, 290);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_system), cmocka_unit_test(test_fault),
                                       cmocka_unit_test(test_write_file_is_one_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
