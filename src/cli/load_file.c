/* load_file.c -- opens a file to be loaded, tells what it is, and reads it batch by batch.
 *
 * Arrow    The file is mapped and read by column/ipc. The file format holds the stream format behind 8 bytes of magic;
 *          its footer, which stands behind the end marker, is not needed. When column/ipc does not take the schema or
 *          the first batch (compressed, dictionaries, above 1,048,576 rows), the file is one of the others.
 * Others   A child process, python3 with pyarrow, reads Parquet, CSV and any Arrow, casts what our types do not hold
 *          but can (nanoseconds, dictionaries, large texts, booleans), and writes frames to a pipe: 8 bytes length, its
 *          highest bit set for the text of an error; 8 bytes progress in millionths; then an IPC stream of at most one
 *          batch. The first frame has the schema alone.
 * Source   Arrow Columnar Format 1.x, section IPC File Format.
 * Threads  one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/load_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ARENA_MAX = 16 << 20,
    FRAME_MAX = 1 << 30,
    NO_PYARROW = 3, /* exit status of the child */
    NO_PYTHON = 127,
};
#define FRAME_ERROR ((uint64_t)1 << 63)

struct mg_load_file {
    const char *path; /* borrowed */
    struct mg_arena arena;
    struct mg_field *fields;   /* as the file has them */
    struct mg_field *decoding; /* the same, all nullable: the server names the rows */
    uint32_t field_count;

    uint8_t *map; /* Arrow: the whole file */
    size_t size_bytes;
    struct mg_reader in;
    bool begun; /* a batch was read */

    pid_t child; /* 0: none */
    int pipe;
    struct mg_buffer frame;
    uint64_t millionths;
};

static const char child_script[] =
    "import os, sys\n"
    "try:\n"
    "    import pyarrow as pa, pyarrow.csv as csv, pyarrow.parquet as parquet\n"
    "except ImportError:\n"
    "    sys.exit(3)\n"
    "path, kind, out, t = sys.argv[1], sys.argv[2], sys.stdout.buffer, pa.types\n"
    "def frame(data, progress, flag=0):\n"
    "    out.write((len(data) | flag).to_bytes(8, 'little') + int(progress * 1e6).to_bytes(8, 'little') + data)\n"
    "def fit(type):\n"
    "    if t.is_dictionary(type): return fit(type.value_type)\n"
    "    if t.is_large_string(type) or 'string_view' in str(type): return pa.string()\n"
    "    if t.is_timestamp(type): return pa.timestamp('us', type.tz)\n"
    "    if t.is_decimal(type): return pa.decimal128(min(type.precision, 38), type.scale)\n"
    "    if t.is_date(type): return pa.date32()\n"
    "    if t.is_boolean(type): return pa.int8()\n"
    "    return pa.float32() if t.is_float16(type) else type\n"
    "def stream(schema, batches=()):\n"
    "    sink = pa.BufferOutputStream()\n"
    "    with pa.ipc.new_stream(sink, schema) as writer:\n"
    "        for batch in batches: writer.write_batch(batch)\n"
    "    return sink.getvalue().to_pybytes()\n"
    "def open_arrow():\n"
    "    with open(path, 'rb') as file: is_file = file.read(6) == b'ARROW1'\n"
    "    if not is_file: return pa.ipc.open_stream(path)\n"
    "    file = pa.ipc.open_file(path)\n"
    "    return pa.RecordBatchReader.from_batches(file.schema, map(file.get_batch, range(file.num_record_batches)))\n"
    "try:\n"
    "    file = {'parquet': parquet.ParquetFile, 'csv': csv.open_csv, 'arrow': lambda _: open_arrow()}[kind](path)\n"
    "    schema = file.schema_arrow if kind == 'parquet' else file.schema\n"
    "    schema = pa.schema([pa.field(f.name, fit(f.type), f.nullable) for f in schema])\n"
    "    frame(stream(schema), 0)\n"
    "    total, done = file.metadata.num_rows if kind == 'parquet' else 0, 0\n"
    "    for batch in file.iter_batches(65536) if kind == 'parquet' else file:\n"
    "        done += batch.num_rows\n"
    "        for part in pa.Table.from_batches([batch]).to_batches(65536):\n"
    "            rows = pa.Table.from_batches([part]).cast(schema).combine_chunks().to_batches()\n"
    "            frame(stream(schema, rows), done / total if total else 0)\n"
    "    out.flush()\n"
    "except BrokenPipeError:\n"
    "    os._exit(0)\n"
    "except Exception as error:\n"
    "    frame(str(error).encode()[:2000], 0, 1 << 63)\n";

/* ---- Arrow ---- */

static enum mg_code map_file(struct mg_load_file *file, int fd, struct mg_error *err)
{
    struct stat stat;

    if (fstat(fd, &stat) < 0)
        return mg_fail_errno(err, errno, "could not look at %s", file->path);
    if (!S_ISREG(stat.st_mode))
        return mg_fail(err, MG_INVALID, "%s is no regular file", file->path);
    file->size_bytes = (size_t)stat.st_size;
    if (file->size_bytes == 0)
        return mg_fail(err, MG_INVALID, "%s is empty", file->path);
    void *map = mmap(NULL, file->size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return mg_fail_errno(err, errno, "could not map %s", file->path);
    file->map = map;
    file->in = mg_reader_of(MG_SLICE(file->map, file->size_bytes));
    return MG_OK;
}

static enum mg_code read_schema(struct mg_load_file *file, struct mg_reader *in, struct mg_error *err)
{
    MG_TRY(mg_ipc_stream_schema(in, &file->arena, &file->fields, &file->field_count, err));
    file->decoding = mg_arena_array(&file->arena, struct mg_field, (size_t)file->field_count + 1);
    if (!file->decoding)
        return mg_arena_fail(&file->arena, err);
    for (uint32_t i = 0; i < file->field_count; i++) {
        file->decoding[i] = file->fields[i];
        file->decoding[i].nullable = true;
    }
    return MG_OK;
}

/* ---- the child ---- */

static _Noreturn void be_child(const struct mg_load_file *file, const char *kind, int out)
{
    const char *python = getenv("MAGIC_PYTHON");

    if (dup2(out, STDOUT_FILENO) < 0)
        _exit(NO_PYTHON);
    signal(SIGINT, SIG_IGN); /* the parent ends it */
    if (!python || !*python)
        python = "python3";
    execlp(python, python, "-c", child_script, file->path, kind, (char *)NULL);
    _exit(NO_PYTHON);
}

static enum mg_code start_child(struct mg_load_file *file, const char *kind, struct mg_error *err)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return mg_fail_errno(err, errno, "could not make a pipe");
    file->child = fork();
    if (file->child == 0)
        be_child(file, kind, ends[1]);
    close(ends[1]);
    file->pipe = ends[0];
    if (file->child < 0) {
        file->child = 0;
        return mg_fail_errno(err, errno, "could not start python3");
    }
    return MG_OK;
}

/* The child ended without a frame. */
static enum mg_code end_child(struct mg_load_file *file, struct mg_error *err)
{
    int status = 0;

    while (waitpid(file->child, &status, 0) < 0 && errno == EINTR)
        ;
    file->child = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return MG_OK;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == NO_PYARROW || WEXITSTATUS(status) == NO_PYTHON))
        return mg_fail(err, MG_UNAVAILABLE,
                       "it is read through python3 with pyarrow, which is not there: install it (pip install "
                       "pyarrow), or name one in MAGIC_PYTHON");
    return mg_fail(err, MG_IO, "the python3 that reads it ended before its time");
}

/* false: the pipe ended first. */
static bool read_all(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t count = read(fd, to, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        to += count;
        size -= (size_t)count;
    }
    return true;
}

/* The next frame as a stream to read; *out_end when the child is done. */
static enum mg_code next_frame(struct mg_load_file *file, struct mg_reader *out, bool *out_end, struct mg_error *err)
{
    uint8_t head[16];

    *out_end = !read_all(file->pipe, head, sizeof head);
    if (*out_end)
        return end_child(file, err);
    uint64_t size = mg_load_le64(head) & ~FRAME_ERROR;
    file->millionths = mg_load_le64(head + 8);
    mg_buffer_reset(&file->frame);
    MG_TRY(mg_buffer_reserve(&file->frame, size + 1, err));
    if (!read_all(file->pipe, file->frame.data, size))
        return mg_fail(err, MG_IO, "the python3 that reads it ended before its time");
    if (mg_load_le64(head) & FRAME_ERROR)
        return mg_fail(err, MG_INVALID, "%.*s", (int)size, (const char *)file->frame.data);
    *out = mg_reader_of(MG_SLICE(file->frame.data, size));
    return MG_OK;
}

/* ---- a file ---- */

static bool has_ending(const char *path, const char *ending)
{
    size_t size = strlen(path), ending_size = strlen(ending);

    return size > ending_size && strcasecmp(path + size - ending_size, ending) == 0;
}

static bool begins_with(const struct mg_load_file *file, const char *magic, size_t size)
{
    return file->size_bytes >= size && memcmp(file->map, magic, size) == 0;
}

static enum mg_code begin_child(struct mg_load_file *file, const char *kind, struct mg_error *err)
{
    struct mg_reader in = {0};
    bool end = false;

    MG_TRY(start_child(file, kind, err));
    MG_TRY(next_frame(file, &in, &end, err));
    if (end)
        return mg_fail(err, MG_IO, "nothing was read");
    return read_schema(file, &in, err);
}

/* What our decoder refused, pyarrow may read. */
static enum mg_code begin_again(struct mg_load_file *file, enum mg_code code, struct mg_error *err)
{
    struct mg_error why = *err;

    if (code != MG_UNIMPLEMENTED && code != MG_TOO_BIG)
        return code;
    code = begin_child(file, "arrow", err);
    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "%.200s", why.text);
}

static enum mg_code begin_arrow(struct mg_load_file *file, struct mg_error *err)
{
    enum mg_code code = read_schema(file, &file->in, err);

    return code == MG_OK ? MG_OK : begin_again(file, code, err);
}

static enum mg_code begin(struct mg_load_file *file, struct mg_error *err)
{
    if (begins_with(file, "ARROW1\0\0", 8)) {
        (void)mg_reader_take(&file->in, 8);
        return begin_arrow(file, err);
    }
    if (begins_with(file, "\xff\xff\xff\xff", 4))
        return begin_arrow(file, err);
    if (begins_with(file, "PAR1", 4))
        return begin_child(file, "parquet", err);
    if (has_ending(file->path, ".csv"))
        return begin_child(file, "csv", err);
    return mg_fail(err, MG_INVALID, "neither Arrow nor Parquet nor a name that ends in .csv");
}

enum mg_code mg_load_file_open(const char *path, struct mg_load_file **out, struct mg_error *err)
{
    MG_CLEANUP(mg_load_file_closep) struct mg_load_file *file = calloc(1, sizeof *file);

    if (!file)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a file");
    file->path = path;
    file->pipe = -1;
    mg_arena_init(&file->arena, ARENA_MAX);
    mg_buffer_init(&file->frame, FRAME_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return mg_fail_errno(err, errno, "could not open %s", path);
    enum mg_code code = map_file(file, fd, err);
    close(fd);
    MG_TRY(code);
    code = begin(file, err);
    if (code != MG_OK)
        return mg_fail_in(err, code, "%s", path);
    *out = MG_TAKE(file);
    return MG_OK;
}

void mg_load_file_close(struct mg_load_file *file)
{
    if (!file)
        return;
    if (file->pipe >= 0)
        close(file->pipe);
    if (file->child > 0) {
        kill(file->child, SIGTERM);
        while (waitpid(file->child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (file->map)
        munmap(file->map, file->size_bytes);
    mg_buffer_clear(&file->frame);
    mg_arena_clear(&file->arena);
    free(file);
}

void mg_load_file_closep(struct mg_load_file **file)
{
    mg_load_file_close(*file);
    *file = NULL;
}

const struct mg_field *mg_load_file_fields(const struct mg_load_file *file, uint32_t *out_count)
{
    *out_count = file->field_count;
    return file->fields;
}

static enum mg_code next_of_frame(struct mg_load_file *file, struct mg_batch **out, struct mg_error *err)
{
    MG_CLEANUP(mg_arena_clear) struct mg_arena scratch;
    struct mg_reader in = {0};
    struct mg_field *fields;
    uint32_t count;
    bool end = false;

    mg_arena_init(&scratch, ARENA_MAX);
    MG_TRY(next_frame(file, &in, &end, err));
    if (end) {
        *out = NULL;
        return MG_OK;
    }
    MG_TRY(mg_ipc_stream_schema(&in, &scratch, &fields, &count, err));
    return mg_ipc_stream_next(&in, file->decoding, file->field_count, NULL, out, err);
}

static enum mg_code next_of_map(struct mg_load_file *file, struct mg_batch **out, struct mg_error *err)
{
    bool at_end = mg_reader_left(&file->in) == 0;
    enum mg_code code = mg_ipc_stream_next(&file->in, file->decoding, file->field_count, NULL, out, err);

    /* Arrow allows a stream without it, but then a file that was cut between two batches looks like a whole one. */
    if (code == MG_OK && !*out && at_end)
        return mg_fail(err, MG_INVALID, "the end marker is missing: the file may be cut short");
    if (code == MG_OK)
        file->begun = true;
    if (code == MG_OK || file->begun)
        return code;
    MG_TRY(begin_again(file, code, err));
    return next_of_frame(file, out, err);
}

enum mg_code mg_load_file_next(struct mg_load_file *file, struct mg_batch **out, struct mg_error *err)
{
    enum mg_code code = file->pipe >= 0 ? next_of_frame(file, out, err) : next_of_map(file, out, err);

    return code == MG_OK ? MG_OK : mg_fail_in(err, code, "%s", file->path);
}

double mg_load_file_progress(const struct mg_load_file *file)
{
    if (file->pipe >= 0)
        return file->millionths ? (double)file->millionths / 1e6 : -1;
    return 1 - (double)mg_reader_left(&file->in) / (double)file->size_bytes;
}
