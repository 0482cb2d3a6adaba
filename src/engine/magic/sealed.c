/* sealed.c -- rows in memory that only old snapshots show go to disk when memory is short, and are read back from
 * there.
 *
 * A segment that was flushed, or whose rows all died, lives on while a snapshot shows it, and no flush helps: the rows
 * that died before the flush are in no part. So its chunks are written as they are, column after column, to a file that
 * has no name any more once it is open, and each chunk gets a stub: counts, zones, and where its columns lie.
 *
 *   hold          a count in the chunk; from MG_CHUNK_SEALED on it is the stub that is held, and a copy is read
 *   written       bytes are in the file, the stub is made          (stop point sealed.written)
 *   shown         MG_CHUNK_SEALED is set: who comes now reads from disk            (sealed.shown)
 *   dropped       the last who held the chunk, or the round, frees its memory
 *
 * So memory never goes under a reader, nobody waits, and a view goes on to show the same chunks. Copies are the
 * reader's, in its budget; the file is read through the block cache. Nothing of it is of use after a restart: nothing
 * is synced, and names that a crash left are removed when the store is opened.
 * Which         chunks of segments that the writer has retired, and of rebuilt epochs. A chunk that was never frozen
 *               has as many rows as the writer filled; no view shows more.
 * Bounds        SEAL_BYTES_ONCE a round; FILES_MAX files, each of which goes with the last chunk in it; the disk's
 *               reserve is left alone.
 * Errors        of writing: nothing changes, and it is tried again later. MG_IO, MG_CORRUPT, MG_NO_MEMORY of reading.
 * Threads       hold, let_go, load: any. Rounds: one at a time, under keeping.lock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counter.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stop.h"
#include "engine/magic/manifest.h"

enum {
    FILE_BYTES = 64 << 20, /* the next chunk goes to a new file */
    FILES_MAX = 1024,      /* open at a time */
    SEAL_BYTES_ONCE = 256 << 20,
    ZONE_TEXT_MAX = 256, /* a longer bound of texts is not kept */
    LITTLE = 16,         /* rows of old snapshots may take one part in so many of the memory whatever others need */
    SHORT = 2,           /* the delta takes more than one part in so many of what it may take */
    SCARCE = 8,          /* less than one part in so many of all memory is left */
    AGAIN_MS = 5000,     /* after a failure */
};

/* ---- files --------------------------------------------------------------------------------------------------- */

/* Ends with the last chunk that lies in it. */
struct mg_sealed_file {
    atomic_int references;
    struct mg_magic *magic;
    struct mg_file *file;
    uint32_t number;
    uint32_t piece_count; /* of the round */
    uint64_t bytes;       /* the same */
};

/* In the cache, whose other keys are segments: these have the lowest numbers, these the highest. */
static struct mg_cache_key key_of(const struct mg_sealed_file *file, uint32_t piece)
{
    return (struct mg_cache_key){UINT32_MAX - file->number, piece};
}

static void file_unref(struct mg_sealed_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) != 1)
        return;
    struct mg_sealing *sealing = &file->magic->sealing;
    mg_cache_drop_file(file->magic->cache, UINT32_MAX - file->number);
    mg_file_close(file->file);
    atomic_fetch_sub_explicit(&sealing->file_bytes, file->bytes, memory_order_relaxed);
    atomic_fetch_sub_explicit(&sealing->file_count, 1, memory_order_relaxed);
    free(file);
}

static void path_of(const struct mg_magic *magic, const char *name, char path[MG_PATH_MAX])
{
    snprintf(path, MG_PATH_MAX, "%s/sealed%s%s", magic->folder, name[0] ? "/" : "", name);
}

/* A file without a name: whatever happens, nothing is left of it. */
static enum mg_code new_file(struct mg_magic *magic, struct mg_sealed_file **out, struct mg_error *err)
{
    char name[16], path[MG_PATH_MAX];
    struct mg_sealing *sealing = &magic->sealing;
    if (sealing->last_number == INT32_MAX || atomic_load(&sealing->file_count) >= FILES_MAX)
        return mg_fail(err, MG_TOO_BIG, "%" PRIu64 " files with rows of old snapshots are open, %d are allowed",
                       atomic_load(&sealing->file_count), FILES_MAX);
    struct mg_sealed_file *file = calloc(1, sizeof *file);
    if (!file)
        return mg_fail(err, MG_NO_MEMORY, "no memory for a file");
    atomic_init(&file->references, 1);
    file->magic = magic;
    file->number = ++sealing->last_number;
    snprintf(name, sizeof name, "%08" PRIx32, file->number);
    path_of(magic, name, path);
    enum mg_code code = mg_io_open(magic->io, path, MG_OPEN_CREATE_NEW, &file->file, err);
    if (code == MG_OK)
        code = magic->io->ops->unlink(magic->io, path, err);
    if (code != MG_OK) {
        mg_file_close(file->file);
        free(file);
        return code;
    }
    atomic_fetch_add_explicit(&sealing->file_count, 1, memory_order_relaxed);
    *out = file;
    return MG_OK;
}

/* The file that is written to, with room. */
static enum mg_code current_file(struct mg_magic *magic, struct mg_sealed_file **out, struct mg_error *err)
{
    struct mg_sealing *sealing = &magic->sealing;
    if (sealing->file && sealing->file->bytes >= FILE_BYTES)
        file_unref(MG_TAKE(sealing->file));
    if (!sealing->file)
        MG_TRY(new_file(magic, &sealing->file, err));
    *out = sealing->file;
    return MG_OK;
}

static enum mg_code remove_left(void *arg, const char *name, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    struct mg_magic *magic = arg;
    path_of(magic, name, path);
    return magic->io->ops->unlink(magic->io, path, err);
}

enum mg_code mg_sealed__open(struct mg_magic *magic, struct mg_error *err)
{
    char path[MG_PATH_MAX];
    path_of(magic, "", path);
    MG_TRY(magic->io->ops->make_folder(magic->io, path, err));
    return magic->io->ops->list(magic->io, path, remove_left, magic, err);
}

void mg_sealed__close(struct mg_magic *magic) { file_unref(MG_TAKE(magic->sealing.file)); }

/* ---- stubs --------------------------------------------------------------------------------------------------- */

/* One buffer of a column. */
struct piece {
    bool there;
    uint32_t size, number;
    uint64_t offset, hash;
};
enum { VALUES, OFFSETS, PRESENT, BITS, PIECES };

struct mg_sealed {
    struct mg_sealed_file *file; /* a reference; NULL: nothing is written yet */
    uint64_t bytes;
    size_t reserved;
    uint8_t *texts; /* of zones; behind pieces, in the same memory */
    struct piece pieces[][PIECES];
};

void mg_sealed__free(struct mg_sealed *sealed)
{
    if (!sealed)
        return;
    if (sealed->file) {
        struct mg_magic *magic = sealed->file->magic;
        atomic_fetch_sub_explicit(&magic->sealing.bytes, sealed->bytes, memory_order_relaxed);
        mg_budget_release(&magic->sealing.budget, sealed->reserved);
        file_unref(sealed->file);
    }
    free(sealed);
}

static bool keeps_text(const struct mg_chunk_column *column)
{
    return column->has_zone && MG_MAX(column->low.text.size, column->high.text.size) <= ZONE_TEXT_MAX;
}

static void keep_text(struct mg_value *value, uint8_t **to)
{
    if (value->text.size)
        memcpy(*to, value->text.data, value->text.size);
    value->text.data = *to;
    *to += value->text.size;
}

/* What is known of the columns; texts move to *to. */
static void copy_columns(const struct mg_chunk *chunk, struct mg_chunk *stub, uint8_t *to)
{
    stub->frozen = chunk->frozen;
    stub->row_count = chunk->row_count;
    for (uint32_t c = 0; c < chunk->column_count; c++) {
        const struct mg_chunk_column *from = &chunk->columns[c];
        struct mg_chunk_column *column = &stub->columns[c];
        column->null_count = from->null_count;
        column->has_zone = from->has_zone && (!from->offsets || keeps_text(from));
        column->low = from->low;
        column->high = from->high;
        if (column->has_zone && from->offsets) {
            keep_text(&column->low, &to);
            keep_text(&column->high, &to);
        }
    }
}

/* Without a file. */
static enum mg_code new_stub(struct mg_magic *magic, const struct mg_chunk *chunk, struct mg_chunk **out,
                             struct mg_error *err)
{
    size_t texts = 0, pieces = chunk->column_count * sizeof(struct piece[PIECES]);
    for (uint32_t c = 0; c < chunk->column_count; c++)
        if (chunk->columns[c].offsets && keeps_text(&chunk->columns[c]))
            texts += chunk->columns[c].low.text.size + chunk->columns[c].high.text.size;
    struct mg_chunk *stub;
    MG_TRY(mg_chunk__new(chunk->column_count, &magic->sealing.budget, &stub, err));
    struct mg_sealed *sealed = stub->sealed = calloc(1, sizeof *sealed + pieces + texts);
    if (!sealed) {
        mg_chunk__unref(stub);
        return mg_fail(err, MG_NO_MEMORY, "no memory for a stub of %u columns", chunk->column_count);
    }
    sealed->reserved = sizeof *sealed + pieces + texts;
    sealed->texts = (uint8_t *)&sealed->pieces[chunk->column_count];
    copy_columns(chunk, stub, sealed->texts);
    *out = stub;
    return MG_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static const struct mg_buf *buffer_of(const struct mg_chunk_column *column, int which)
{
    const struct mg_buf *const buffers[PIECES] = {column->values, column->offsets, column->present, column->bits};
    return buffers[which];
}

/* Of row_count rows. Bits are kept whole, as scans read them in words. */
static size_t bytes_of(const struct mg_chunk_column *column, int which, struct mg_type type, uint32_t row_count)
{
    switch (which) {
    case OFFSETS: return ((size_t)row_count + 1) * sizeof(int32_t);
    case PRESENT: return row_count;
    case BITS: return column->bits->capacity;
    default: break;
    }
    if (column->offsets)
        return (size_t)((const int32_t *)(const void *)mg_buf_data(column->offsets))[row_count];
    return (size_t)row_count * mg_type_width(type.id);
}

/* The buffers one behind the other, as pieces of the stub and of the write. Returns how many. */
static int list_pieces(const struct mg_chunk *chunk, const struct mg_schema *schema, const struct mg_sealed_file *file,
                       struct mg_sealed *sealed, struct iovec *out)
{
    int count = 0;
    uint32_t number = file->piece_count;
    sealed->bytes = 0;
    for (uint32_t c = 0; c < chunk->column_count; c++)
        for (int which = 0; which < PIECES; which++) {
            struct mg_buf *buffer = (struct mg_buf *)(uintptr_t)buffer_of(&chunk->columns[c], which);
            struct piece *piece = &sealed->pieces[c][which];
            piece->there = buffer != NULL;
            if (!buffer)
                continue;
            piece->size = (uint32_t)bytes_of(&chunk->columns[c], which, schema->columns[c].type, chunk->filled);
            piece->number = number++;
            piece->offset = file->bytes + sealed->bytes;
            piece->hash = mg_hash(mg_buf_data(buffer), piece->size, 0);
            sealed->bytes += piece->size;
            if (piece->size)
                out[count++] = (struct iovec){mg_buf_data(buffer), piece->size};
        }
    return count;
}

static enum mg_code write_chunk(struct mg_magic *magic, const struct mg_chunk *chunk, const struct mg_schema *schema,
                                struct mg_sealed *sealed, struct mg_error *err)
{
    struct mg_sealed_file *file;
    MG_TRY(current_file(magic, &file, err));
    MG_CLEANUP(mg_freep) struct iovec *pieces = calloc((size_t)chunk->column_count * PIECES + 1, sizeof *pieces);
    if (!pieces)
        return mg_fail(err, MG_NO_MEMORY, "no memory to write %u columns", chunk->column_count);
    int count = list_pieces(chunk, schema, file, sealed, pieces);
    if (!mg_space__has_room(magic, sealed->bytes))
        return mg_fail(err, MG_NO_SPACE, "rows of old snapshots stay in memory: the disk has no room for them");
    MG_TRY(mg_budget_reserve(&magic->sealing.budget, sealed->reserved, err));
    enum mg_code code = count ? mg_file_pwritev(file->file, pieces, count, file->bytes, err) : MG_OK;
    if (code != MG_OK) {
        mg_budget_release(&magic->sealing.budget, sealed->reserved);
        return code;
    }
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    sealed->file = file;
    file->bytes += sealed->bytes;
    file->piece_count += chunk->column_count * PIECES;
    atomic_fetch_add_explicit(&magic->sealing.bytes, sealed->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&magic->sealing.total_bytes, sealed->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&magic->sealing.file_bytes, sealed->bytes, memory_order_relaxed);
    mg_count(engine_sealed_bytes, sealed->bytes);
    return MG_OK;
}

/* Nobody holds the chunk, and nobody will again. */
static void drop_rows(struct mg_chunk *chunk)
{
    for (uint32_t c = 0; c < chunk->column_count; c++) {
        struct mg_chunk_column *column = &chunk->columns[c];
        mg_buf__unref(MG_TAKE(column->values));
        mg_buf__unref(MG_TAKE(column->offsets));
        mg_buf__unref(MG_TAKE(column->present));
        mg_buf__unref(MG_TAKE(column->bits));
        mg_chunk_image__free(atomic_exchange_explicit(&column->image, NULL, memory_order_relaxed));
    }
    mg_key_table__free(chunk);
}

static enum mg_code seal_chunk(struct mg_magic *magic, struct mg_chunk *chunk, const struct mg_schema *schema,
                               uint64_t *bytes, struct mg_error *err)
{
    struct mg_chunk *stub;
    MG_TRY(new_stub(magic, chunk, &stub, err));
    enum mg_code code = write_chunk(magic, chunk, schema, stub->sealed, err);
    if (code != MG_OK) {
        mg_chunk__unref(stub);
        return code;
    }
    MG_STOP("sealed.written");
    *bytes += stub->sealed->bytes;
    atomic_store_explicit(&chunk->stub, stub, memory_order_relaxed);
    if (atomic_fetch_or_explicit(&chunk->holders, MG_CHUNK_SEALED, memory_order_acq_rel) == 0)
        drop_rows(chunk);
    MG_STOP("sealed.shown");
    return MG_OK;
}

/* ---- rounds -------------------------------------------------------------------------------------------------- */

bool mg_sealed__is_due(const struct mg_magic *magic)
{
    mg_assert_held(&magic->publish);
    const struct mg_store *store = &magic->store;
    size_t rows = mg_budget_used(&magic->rows_budget), limit = magic->budget.limit_bytes;
    size_t held = mg_budget_used(&magic->replay_budget) + rows - MG_MIN(rows, (size_t)store->delta_bytes);
    if (store->view_count < 2 && !magic->privates)
        return false;
    if (magic->sealing.rows_max)
        return held > magic->sealing.rows_max;
    if (limit == SIZE_MAX || held <= limit / LITTLE)
        return false;
    return store->is_starved || mg_budget_used(&magic->delta_budget) > magic->delta_budget.limit_bytes / SHORT ||
           mg_budget_left(&magic->budget) < limit / SCARCE;
}

/* All live views, each with a pin: the store's from the newest on, then those of rebuilt epochs. */
struct views {
    struct mg_view **items;
    uint32_t count;
};

static uint64_t count_views(const struct mg_magic *magic)
{
    mg_assert_held(&magic->publish);
    uint64_t count = magic->store.view_count;
    for (const struct mg_store *store = magic->privates; store; store = store->next_private)
        count++;
    return count;
}

static enum mg_code pin_views(struct mg_magic *magic, struct views *out, struct mg_error *err)
{
    mg_mutex_lock(&magic->publish);
    uint64_t room = count_views(magic);
    mg_mutex_unlock(&magic->publish);
    out->items = room < UINT32_MAX ? malloc((room + 1) * sizeof *out->items) : NULL;
    if (!out->items)
        return mg_fail(err, MG_NO_MEMORY, "no memory to look at %" PRIu64 " views", room);
    mg_mutex_lock(&magic->publish); /* of those that came since, the oldest are left for the next round */
    for (struct mg_view *view = magic->store.newest; view && out->count < room; view = view->older)
        out->items[out->count++] = mg_view__pin(view);
    for (struct mg_store *store = magic->privates; store && out->count < room; store = store->next_private)
        out->items[out->count++] = mg_view__pin(store->newest);
    mg_mutex_unlock(&magic->publish);
    return MG_OK;
}

static enum mg_code seal_segment(struct mg_magic *magic, const struct mg_segment_view *view, uint64_t *bytes,
                                 struct mg_error *err)
{
    for (uint32_t i = 0; i < view->chunk_count && *bytes < SEAL_BYTES_ONCE; i++)
        if (!(atomic_load_explicit(&view->chunks[i]->holders, memory_order_acquire) & MG_CHUNK_SEALED))
            MG_TRY(seal_chunk(magic, view->chunks[i], view->segment->schema, bytes, err));
    return MG_OK;
}

/* What the view before shows, too, was looked at already. */
static enum mg_code seal_view(struct mg_magic *magic, const struct mg_view *view, const struct mg_view *before,
                              uint64_t *bytes, struct mg_error *err)
{
    const struct mg_catalog *catalog = view->catalog, *seen = before ? before->catalog : NULL;
    for (uint32_t i = 0; i < catalog->table_count; i++) {
        const struct mg_table_view *table = catalog->tables[i];
        if (seen && i < seen->table_count && seen->tables[i] == table)
            continue;
        for (uint32_t s = 0; s < table->segment_count; s++)
            if (view->store->is_private ||
                atomic_load_explicit(&table->segments[s].rows->segment->retired, memory_order_acquire))
                MG_TRY(seal_segment(magic, table->segments[s].rows, bytes, err));
    }
    return MG_OK;
}

static enum mg_code seal_all(struct mg_magic *magic, uint64_t *bytes, struct mg_error *err)
{
    struct views views = {0};
    MG_TRY(pin_views(magic, &views, err));
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < views.count && *bytes < SEAL_BYTES_ONCE; i++)
        code = seal_view(magic, views.items[i], i ? views.items[i - 1] : NULL, bytes, err);
    for (uint32_t i = 0; i < views.count; i++)
        mg_view__unpin(views.items[i]);
    free(views.items);
    return code;
}

uint64_t mg_sealed__round(struct mg_magic *magic)
{
    uint64_t bytes = 0;
    struct mg_error err = MG_ERROR_INIT;
    struct mg_sealing *sealing = &magic->sealing;
    if (sealing->file && atomic_load_explicit(&sealing->file->references, memory_order_acquire) == 1)
        file_unref(MG_TAKE(sealing->file)); /* nothing in it is of use any more */
    mg_mutex_lock(&magic->publish);
    bool is_due = mg_sealed__is_due(magic);
    mg_mutex_unlock(&magic->publish);
    if (!is_due || mg_mono_ms(mg_clock_system()) < sealing->not_before_ms)
        return 0;
    enum mg_code code = seal_all(magic, &bytes, &err);
    if (code == MG_NO_MEMORY) /* what is cached gives way to what stubs need */
        mg_cache_shrink(magic->cache, SIZE_MAX);
    if (code == MG_OK || code == MG_NO_MEMORY || code == MG_NO_SPACE)
        return bytes;
    sealing->not_before_ms = mg_mono_ms(mg_clock_system()) + AGAIN_MS;
    atomic_fetch_add_explicit(&magic->keeping.failed_count, 1, memory_order_relaxed);
    mg_log(MG_LOG_WARN, "engine", "rows of old snapshots could not go to disk, tried again in %d ms: %s", AGAIN_MS,
           err.text);
    return bytes;
}

/* ---- holding and reading ------------------------------------------------------------------------------------- */

struct mg_chunk *mg_chunk__hold(struct mg_chunk *chunk)
{
    uint32_t holders = atomic_load_explicit(&chunk->holders, memory_order_acquire);
    while (!(holders & MG_CHUNK_SEALED))
        if (atomic_compare_exchange_weak_explicit(&chunk->holders, &holders, holders + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return mg_chunk__ref(chunk);
    return mg_chunk__ref(atomic_load_explicit(&chunk->stub, memory_order_relaxed));
}

struct mg_chunk *mg_chunk__hold_again(struct mg_chunk *held)
{
    mg_assert(!held->sealed);
    atomic_fetch_add_explicit(&held->holders, 1, memory_order_relaxed);
    return mg_chunk__ref(held);
}

void mg_chunk__let_go(struct mg_chunk *held)
{
    if (!held)
        return;
    if (!held->sealed && atomic_fetch_sub_explicit(&held->holders, 1, memory_order_acq_rel) == (MG_CHUNK_SEALED | 1))
        drop_rows(held);
    mg_chunk__unref(held);
}

struct reading {
    const struct mg_sealed_file *file;
    const struct piece *piece;
};

static enum mg_code read_piece(void *arg, struct mg_cache_key key, void *bytes, size_t size, struct mg_error *err)
{
    const struct reading *reading = arg;
    char name[32];
    MG_TRY(mg_file_pread(reading->file->file, bytes, size, reading->piece->offset, err));
    mg_count(engine_sealed_read_bytes, size);
    if (mg_hash(bytes, size, 0) == reading->piece->hash)
        return MG_OK;
    snprintf(name, sizeof name, "sealed/%08" PRIx32, reading->file->number);
    return mg_corrupt(err, name, (long long)reading->piece->offset, "%zu bytes of an old snapshot's rows were changed",
                      size);
}

static enum mg_code load_buffer(const struct mg_sealed *sealed, const struct piece *piece, struct mg_budget *budget,
                                struct mg_buf **out, struct mg_error *err)
{
    struct reading reading = {sealed->file, piece};
    struct mg_cache_key key = key_of(sealed->file, piece->number);
    struct mg_cache_pin pin;
    if (!piece->there)
        return MG_OK;
    MG_TRY(mg_buf__new(budget, piece->size, out, err));
    if (piece->size == 0)
        return MG_OK;
    enum mg_code code = mg_cache_get(sealed->file->magic->cache, key, piece->size, read_piece, &reading, &pin, err);
    if (code == MG_NO_MEMORY) /* of the cache's */
        return read_piece(&reading, key, mg_buf_data(*out), piece->size, err);
    if (code != MG_OK)
        return code;
    memcpy(mg_buf_data(*out), pin.bytes.data, piece->size);
    mg_cache_unpin(&pin);
    return MG_OK;
}

static enum mg_code load_column(const struct mg_sealed *sealed, uint32_t c, struct mg_chunk *copy, struct mg_error *err)
{
    struct mg_chunk_column *column = &copy->columns[c];
    struct mg_buf **const places[PIECES] = {&column->values, &column->offsets, &column->present, &column->bits};
    for (int which = 0; which < PIECES; which++)
        if (!*places[which])
            MG_TRY(load_buffer(sealed, &sealed->pieces[c][which], copy->budget, places[which], err));
    return MG_OK;
}

enum mg_code mg_chunk__load(struct mg_chunk **held, const int32_t *places, uint32_t count, struct mg_budget *budget,
                            struct mg_error *err)
{
    struct mg_chunk *stub = *held, *copy;
    if (!stub->sealed)
        return MG_OK;
    budget = budget ? budget : stub->sealed->file->magic->readers;
    MG_TRY(mg_chunk__new(stub->column_count, budget, &copy, err));
    memcpy(copy->columns, stub->columns, stub->column_count * sizeof stub->columns[0]);
    copy->frozen = stub->frozen;
    copy->row_count = stub->row_count;
    enum mg_code code = MG_OK;
    for (uint32_t i = 0; code == MG_OK && i < count; i++) {
        int64_t c = places ? places[i] : (int64_t)i;
        if (c >= 0 && c < stub->column_count)
            code = load_column(stub->sealed, (uint32_t)c, copy, err);
    }
    if (code != MG_OK) {
        mg_chunk__unref(copy);
        return code;
    }
    atomic_store_explicit(&copy->holders, 1, memory_order_relaxed);
    atomic_store_explicit(&copy->stub, stub, memory_order_relaxed); /* it has the texts of the zones */
    *held = copy;
    return MG_OK;
}

static uint64_t column_bytes(const struct mg_chunk_column *column)
{
    uint64_t bytes = 0;
    for (int which = 0; which < PIECES; which++)
        bytes += buffer_of(column, which) ? buffer_of(column, which)->capacity : 0;
    return bytes;
}

uint64_t mg_chunk__bytes(const struct mg_chunk *held)
{
    uint64_t bytes = held->sealed ? held->sealed->bytes : 0;
    for (uint32_t c = 0; c < held->column_count; c++)
        bytes += column_bytes(&held->columns[c]);
    return bytes;
}
