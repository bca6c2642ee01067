/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows in which order the disk is asked, and what follows when it does not do as asked: wait and
 * try again, open anew, set aside, serve around (P1, P2, P5). Does not know any SQL, nor who waits
 * for it.
 *
 * The trap: SQLite goes on committing into a file that was deleted. So a commit counts only after a
 * look whether the file is still at its path, and a group of changes is kept until then.
 */

#include "state/writer.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "state/aside.h"
#include "core/creation.h"
#include "state/database.h"
#include "state/lockfile.h"

/* A failure is tried again after 0.25 s, 0.5 s, ... 5 s. New work does not hasten it: a disk that
 * fails is asked at a bounded rate. */
#define RETRY_MIN_USEC (USEC_PER_SEC / 4)
#define RETRY_MAX_USEC (5 * USEC_PER_SEC)
/* A file that cannot be read is given up for damaged after so many attempts: some 8 s. */
#define UNREADABLE_MAX 6
/* At the start, before anybody is told that there is nothing to be read. */
#define OPEN_ATTEMPTS 3
#define OPEN_RETRY_USEC (20 * USEC_PER_MSEC)
/* Another daemon's lock is asked for so often, for so long, before that is told. */
#define LOCK_RETRY_USEC (20 * USEC_PER_MSEC)
#define LOCK_PATIENCE_USEC (2 * USEC_PER_SEC)
/* Then for so long more; then only when poked. */
#define LOCK_HOPE_USEC (60 * USEC_PER_SEC)
#define LOCK_NEVER_USEC (365 * 24 * 3600 * USEC_PER_SEC)
/* Is the file still there? May the log be cut? */
#define TICK_USEC USEC_PER_SEC
/* History is brought within its bounds so often, and after so many tenures. */
#define TRIM_USEC (60 * USEC_PER_SEC)
#define TRIM_TENURES 256
/* Are all pages what they should be? */
#define CHECK_USEC (10 * 60 * USEC_PER_SEC)
/* A disk that damages each new file is not given more of them than that. */
#define ASIDE_INTERVAL_USEC (10 * USEC_PER_SEC)
/* The check of all pages gives way to work so many times, then it takes its time. */
#define CHECK_INTERRUPTIONS_MAX 10

struct Writer {
        Channel *channel;
        char *path;
        char *lock_path;
        Lockfile *lock;
        Database *database;
        Group group; /* taken from the queue, not yet on disk */
        Wake wake;
        uint32_t creations; /* P5: the latest mark that was found or asked for */

        bool had_mark;      /* the lock file is of an earlier run: a registry was here */
        bool is_strange;    /* what is at the path is not ours to move, nor to leave marks beside */
        bool is_locked_out; /* another daemon has the registry */
        bool has_told;      /* something was loaded, or nothing could be */
        bool has_loaded;    /* the rows of this run's first file were handed over */
        bool needs_whole;   /* the next file that is opened will not have all */
        bool owes_loss;     /* this one does not, and the loop is yet to be told */
        bool needs_check;   /* of all its pages */
        bool has_just_opened; /* in this turn */
        unsigned n_check_interruptions;
        bool must_trim;

        unsigned n_opened; /* attempts, until the first one is told of */
        unsigned n_failed; /* in a row */
        /* CLOCK_MONOTONIC; not before that */
        uint64_t locked_out_at, lock_patience_until, retry_at, tick_at, trim_at, check_at, aside_at;
        char detail[256];
};

/* --- life ----------------------------------------------------------------------------------- */

int writer_new(Writer **ret, Channel *channel, const StoreOptions *options) {
        _cleanup_(writer_freep) Writer *writer = calloc(1, sizeof *writer);
        DatabaseOptions database = {
                .path = options->path,
                .boot_id = options->boot_id,
                .history_days = options->history_days,
                .history_rows = options->history_rows,
                .history_per_name = options->history_per_name,
        };

        if (!writer)
                return -ENOMEM;
        writer->channel = channel_ref(channel);
        writer->path = strdup(options->path);
        if (!writer->path)
                return -ENOMEM;
        if (asprintf(&writer->lock_path, "%s.lock", options->path) < 0) {
                writer->lock_path = NULL;
                return -ENOMEM;
        }
        if (database_new(&writer->database, &database) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(writer);
        return 0;
}

Writer *writer_free(Writer *writer) {
        if (writer) {
                database_free(writer->database);
                lockfile_release(writer->lock);
                free(writer->lock_path);
                free(writer->path);
                channel_unref(writer->channel);
        }
        free(writer);
        return NULL;
}

/* --- the lock ------------------------------------------------------------------------------- */

/* Nobody else may have the registry. The lock file may have been deleted, alone or with its
 * directory. */
static int ensure_lock(Writer *writer) {
        _cleanup_(lockfile_releasep) Lockfile *former = NULL;
        bool was_locked_out = writer->is_locked_out;
        pid_t holder_pid = 0;
        int r;

        if (writer->lock && lockfile_is_in_place(writer->lock))
                return 0;
        former = TAKE_PTR(writer->lock);
        r = lockfile_acquire(&writer->lock, writer->lock_path, &holder_pid);
        writer->is_locked_out = r == -EBUSY;
        if (!was_locked_out)
                writer->locked_out_at = now_usec(CLOCK_MONOTONIC);
        channel_publish_lock(writer->channel, r, holder_pid);
        if (former)
                channel_notice(writer->channel, "the lock file %s was deleted or replaced",
                               writer->lock_path);
        if (r == 0) {
                writer->had_mark = writer->had_mark || lockfile_creations(writer->lock) != 0;
                writer->creations =
                        creation_later(writer->creations, lockfile_creations(writer->lock));
                /* Another daemon may have come and gone meanwhile. */
                writer->owes_loss = writer->owes_loss || former;
                return 0;
        }
        if (former)
                database_close(writer->database); /* it may be another daemon's by now */
        if (r == -EBUSY)
                snprintf(writer->detail, sizeof writer->detail,
                         "%s is in use by another daemon (pid %ld)", writer->path,
                         (long)holder_pid);
        else
                snprintf(writer->detail, sizeof writer->detail, "cannot lock %s: %s",
                         writer->lock_path, strerror(-r));
        return r == -EBUSY ? -EADDRINUSE : r; /* -EBUSY is somebody's transaction, no more */
}

/* P5: beside the registry file, in case that is lost. The file itself will have it, too, so that it
 * is no failure if this one cannot be written. */
static void note_creations(Writer *writer) {
        writer->creations = creation_later(writer->creations, writer->group.reserved_until);
        if (!writer->is_strange)
                (void)lockfile_raise_creations(writer->lock, writer->creations);
}

/* --- opening -------------------------------------------------------------------------------- */

/* Hands over what was read, if only partly or nothing. */
static int publish_loaded(Writer *writer, DatabaseContent *content, uint32_t first_creation) {
        StoreLoaded *loaded = calloc(1, sizeof *loaded);

        if (!loaded) {
                database_content_done(content);
                return -ENOMEM;
        }
        loaded->nodes = TAKE_PTR(content->nodes);
        loaded->n_nodes = content->n_nodes;
        loaded->formers = TAKE_PTR(content->formers);
        loaded->n_formers = content->n_formers;
        loaded->refused = TAKE_PTR(content->refused);
        loaded->n_refused = content->n_refused;
        loaded->entries = content->entries;
        loaded->pins = content->pins;
        content->entries = content->pins = (Entries){ 0 };
        loaded->last_serial = content->last_serial;
        loaded->boot_id = TAKE_PTR(content->boot_id);
        loaded->first_creation = first_creation;
        channel_publish_loaded(writer->channel, loaded);
        writer->has_told = true;
        return 0;
}

static int load(Writer *writer) {
        DatabaseContent content = { .nodes = NULL };
        int r, r_publish;

        if (writer->has_loaded)
                return 0;
        r = database_load(writer->database, &content);
        if (r < 0 || r == DATABASE_E_UNREADABLE) {
                database_content_done(&content);
                return r;
        }
        if (content.n_nonsense > 0) {
                writer->needs_whole = true; /* nobody would ever end those rows */
                channel_notice(writer->channel, "%s: %zu rows make no sense and are passed over",
                               writer->path, content.n_nonsense);
        }
        /* The loop asks right after it was told of the rows. */
        if (r == 0 && writer->n_failed == 0 && !database_is_read_only(writer->database))
                channel_publish_health(writer->channel, STORE_OK, "");
        r_publish = publish_loaded(
                writer, &content,
                creation_first(writer->creations, now_usec(CLOCK_REALTIME) / USEC_PER_SEC));
        if (r_publish < 0)
                return r_publish;
        writer->has_loaded = true;
        return r;
}

static void publish_file(Writer *writer) {
        channel_publish_file(writer->channel, database_file_bytes(writer->database),
                             database_wal_bytes(writer->database),
                             database_version(writer->database));
}

static int open_file(Writer *writer, DatabaseAccess access) {
        int r = database_open(writer->database, access);

        if (r != 0)
                return r;
        publish_file(writer); /* before anybody is told that it is loaded */
        writer->creations = creation_later(writer->creations, database_creations(writer->database));
        r = load(writer);
        if (r != 0)
                return r;
        if (!database_is_read_only(writer->database))
                return 0;
        snprintf(writer->detail, sizeof writer->detail, "%s may only be read", writer->path);
        return -EROFS;
}

/* Somebody may damage the file beneath us: it is read again when somebody else has written to it,
 * when we are told to look, and now and then. */
static void want_check(Writer *writer) {
        writer->needs_check = true;
        writer->n_check_interruptions = 0;
        writer->check_at = now_usec(CLOCK_MONOTONIC) + CHECK_USEC;
}

/* What cannot be written into such a file was dropped, knowingly. */
static bool is_served_around(const Writer *writer, int r) {
        return writer->is_strange || r == DATABASE_E_TOO_NEW || r == DATABASE_E_FOREIGN;
}

static int ensure_open(Writer *writer) {
        int r;

        if (database_is_open(writer->database))
                return 0;
        r = open_file(writer, DATABASE_WRITE);
        if (r != 0) {
                /* What was handed over need not be what the next attempt finds. */
                writer->needs_whole = writer->needs_whole || writer->has_loaded;
                if (r < 0)
                        database_close(writer->database);
                return r;
        }
        /* What the first file has is what was handed over. Any other one may miss something. */
        writer->owes_loss = writer->needs_whole;
        writer->needs_whole = true;
        want_check(writer);
        writer->needs_check = !database_is_fresh(writer->database);
        writer->has_just_opened = true;
        writer->must_trim = true;
        return 0;
}

/* --- writing -------------------------------------------------------------------------------- */

/* Not before the file takes writes again: a whole one costs the loop something, and would wait with
 * the rest. */
static void tell_loss(Writer *writer) {
        if (writer->owes_loss)
                channel_publish_loss(writer->channel);
        writer->owes_loss = false;
}

static int commit(Writer *writer) {
        size_t n_refused;
        int r;

        if (!writer->group.first)
                return 0;
        r = database_write(writer->database, writer->group.first, writer->creations, &n_refused);
        if (r == 0)
                r = database_check_place(writer->database); /* P1 */
        if (r != 0)
                return r;
        publish_file(writer);
        tell_loss(writer);
        channel_publish_commit(writer->channel, &writer->group, n_refused);
        if (n_refused > 0)
                channel_notice(writer->channel, "%s refused %zu rows; they are kept in memory only",
                               writer->path, n_refused);
        return 0;
}

/* One at a time, so that a commit waits for one at most. An answer, also to an order, tells its asker of what went
 * wrong; that is not all that follows from it. */
static int answer(Writer *writer) {
        Question *question = writer->group.first ? NULL : channel_take_question(writer->channel);
        int r;

        if (!question)
                return 0;
        r = question->is_order ? database_order(writer->database, &question->order)
                               : database_query(writer->database, &question->query, question->answer);
        question->answer->error = r > 0 ? -EIO : r;
        channel_publish_answer(writer->channel, question);
        return r;
}

/* --- looking after the file ----------------------------------------------------------------- */

static bool is_wanted_elsewhere(void *userdata) {
        Writer *writer = userdata;

        return writer->n_check_interruptions < CHECK_INTERRUPTIONS_MAX &&
               channel_is_pressing(writer->channel);
}

static int check_pages(Writer *writer) {
        int r;

        if (!writer->needs_check)
                return 0;
        r = database_check_pages(writer->database, is_wanted_elsewhere, writer);
        if (r == DATABASE_E_INTERRUPTED) {
                writer->n_check_interruptions++;
                return 0;
        }
        writer->needs_check = r != 0;
        return r;
}

static int trim(Writer *writer, uint64_t now) {
        bool is_due = writer->must_trim || now >= writer->trim_at;
        bool again;
        int r;

        if (database_n_untrimmed(writer->database) < TRIM_TENURES &&
            (!is_due || channel_is_pressing(writer->channel)))
                return 0;
        r = database_trim(writer->database, now_usec(CLOCK_REALTIME), &again);
        if (r != 0)
                return r;
        writer->must_trim = again;
        writer->trim_at = now + TRIM_USEC;
        return 0;
}

/* What can wait, after what could not. */
static int look_after(Writer *writer) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        bool is_tick = now >= writer->tick_at;
        int r = 0;

        if (now >= writer->check_at)
                want_check(writer);
        if (is_tick) {
                writer->tick_at = now + TICK_USEC;
                channel_remind(writer->channel);
                r = database_check_place(writer->database);
                if (database_take_touch(writer->database))
                        want_check(writer);
        }
        if (r == 0)
                r = database_checkpoint(writer->database, is_tick);
        if (r == 0)
                r = trim(writer, now);
        /* Whoever was told of the rows is about to open its doors, and needs the processor more. */
        if (r == 0 && !writer->has_just_opened && !channel_is_pressing(writer->channel))
                r = check_pages(writer);
        writer->has_just_opened = false;
        if (r == 0 && is_tick)
                publish_file(writer);
        return r;
}

/* --- failures ------------------------------------------------------------------------------- */

static const char *get_detail(const Writer *writer) {
        return writer->detail[0] != '\0' ? writer->detail : database_detail(writer->database);
}

/* P2: nobody waits for a file that cannot be read. */
static void tell_nothing(Writer *writer) {
        DatabaseContent nothing = { .nodes = NULL };
        uint64_t now = now_usec(CLOCK_REALTIME) / USEC_PER_SEC;

        if (!writer->has_told)
                (void)publish_loaded(writer, &nothing,
                                     writer->creations ? creation_first(writer->creations, now)
                                                       : creation_unknown(now, random_u32()));
}

/* A directory may refuse us the lock in which the file can be read. */
static void load_without_lock(Writer *writer) {
        if (writer->has_told)
                return;
        (void)open_file(writer, DATABASE_READ);
        database_close(writer->database);
        writer->needs_whole = writer->has_loaded;
}

static void fail(Writer *writer, StoreHealth health, uint64_t delay_usec) {
        channel_publish_failure(writer->channel, health, get_detail(writer));
        channel_refuse_questions(writer->channel, -ENODATA);
        tell_nothing(writer);
        writer->n_failed++;
        writer->retry_at = now_usec(CLOCK_MONOTONIC) + delay_usec;
}

/* A daemon that is slow to end is waited for; one that stays has nodes of its own, which are not to be taken
 * over when it is restarted some day. */
static bool has_given_up_lock(const Writer *writer) {
        return writer->is_locked_out &&
               now_usec(CLOCK_MONOTONIC) > writer->locked_out_at + LOCK_PATIENCE_USEC + LOCK_HOPE_USEC;
}

/* P3: for want of a page of memory nobody is to be answered without the rows. */
static bool may_open_at_once(Writer *writer) {
        if (writer->has_told || ++writer->n_opened >= OPEN_ATTEMPTS)
                return false;
        writer->retry_at = now_usec(CLOCK_MONOTONIC) + OPEN_RETRY_USEC;
        return true;
}

static void fail_and_back_off(Writer *writer) {
        unsigned n_doublings = writer->n_failed < 5 ? writer->n_failed : 5;

        if (may_open_at_once(writer))
                return;
        if (has_given_up_lock(writer)) {
                fail(writer, STORE_FAILING, LOCK_NEVER_USEC);
                return;
        }
        fail(writer, STORE_FAILING, min_u64(RETRY_MIN_USEC << n_doublings, RETRY_MAX_USEC));
}

/* The file is not for us. It is served around, and looked at again: somebody may put a better one
 * there. */
static void serve_around(Writer *writer) {
        database_close(writer->database);
        channel_drop_group(writer->channel, &writer->group);
        writer->needs_whole = true;
        fail(writer, STORE_TOO_NEW, RETRY_MAX_USEC);
}

static void begin_anew_after_loss(Writer *writer) {
        channel_notice(writer->channel, "%s; the registry is written anew", get_detail(writer));
        database_close_lost(writer->database);
        writer->needs_whole = true;
        /* At once the first time; then somebody deletes it faster than it can be written. */
        if (writer->n_failed > 0)
                fail_and_back_off(writer);
        else
                writer->n_failed++;
}

/* A slip in --state must not move somebody's file: what is no database is ours if a registry was
 * here before, or if it is called like one. */
static bool is_ours(const Writer *writer, const char *path) {
        const char *suffix = strrchr(path, '.');

        return writer->has_loaded || writer->had_mark ||
               (suffix && strcmp(suffix, ".db") == 0);
}

static void set_aside(Writer *writer) {
        _cleanup_(freep) char *resolved = NULL;
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        char name[PATH_MAX];
        int r;

        database_close(writer->database);
        writer->needs_whole = true;
        if (now < writer->aside_at) {
                fail(writer, STORE_FAILING, writer->aside_at - now);
                return;
        }
        resolved = realpath(writer->path, NULL);
        if (!is_ours(writer, resolved ? resolved : writer->path)) {
                snprintf(writer->detail, sizeof writer->detail,
                         "%s is no registry, and none was there before: it is left alone",
                         writer->path);
                writer->is_strange = true;
                serve_around(writer);
                return;
        }
        r = aside_set(resolved ? resolved : writer->path, time(NULL), name);
        if (r < 0) {
                snprintf(writer->detail, sizeof writer->detail,
                         "%s is damaged and cannot be set aside: %s", writer->path, strerror(-r));
                fail_and_back_off(writer);
                return;
        }
        writer->aside_at = now + ASIDE_INTERVAL_USEC;
        writer->creations = creation_later(writer->creations, database_salvage_creations(name));
        aside_prune(resolved ? resolved : writer->path);
        channel_notice(writer->channel, "%s; it is set aside as %s, and a new one is begun",
                       get_detail(writer), name);
}

/* What waits for the disk, and the pages that SQLite keeps, may be what there is no memory for. */
static void on_no_memory(Writer *writer) {
        if (writer->n_failed > 0) {
                database_close(writer->database);
                channel_shed(writer->channel, &writer->group);
        }
        fail_and_back_off(writer);
}

/* A disk that cannot be read for a moment loses nothing; one that stays so must not keep us from writing. */
static void on_unreadable(Writer *writer) {
        if (writer->n_failed >= UNREADABLE_MAX) {
                set_aside(writer);
                return;
        }
        database_close(writer->database);
        fail_and_back_off(writer);
}

/* A daemon that was just told to end needs a moment. */
static bool waits_for_holder(Writer *writer) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (!writer->is_locked_out || writer->has_told)
                return false;
        if (writer->lock_patience_until == 0)
                writer->lock_patience_until = now + LOCK_PATIENCE_USEC;
        if (now >= writer->lock_patience_until)
                return false;
        writer->retry_at = now + LOCK_RETRY_USEC;
        return true;
}

static void on_failure(Writer *writer, int r) {
        if (waits_for_holder(writer))
                return;
        if (r == DATABASE_E_CORRUPT && database_is_open(writer->database) &&
            !database_is_read_only(writer->database) &&
            database_check_place(writer->database) == DATABASE_E_LOST)
                r = DATABASE_E_LOST; /* what is damaged is not what is at the path now */
        switch (r) {
        case DATABASE_E_CORRUPT:
                set_aside(writer);
                break;
        case DATABASE_E_UNREADABLE:
                on_unreadable(writer);
                break;
        case DATABASE_E_LOST:
                begin_anew_after_loss(writer);
                break;
        case DATABASE_E_TOO_NEW:
        case DATABASE_E_FOREIGN:
                serve_around(writer);
                break;
        case -ENOMEM:
                on_no_memory(writer);
                break;
        case -EBUSY:
        case -ENOSPC:
                /* The file is as good as ever. */
                fail_and_back_off(writer);
                break;
        default:
                /* After an I/O error nothing is taken for granted. */
                database_close(writer->database);
                fail_and_back_off(writer);
                break;
        }
}

static void on_success(Writer *writer) {
        tell_loss(writer);
        channel_publish_health(writer->channel, STORE_OK, "");
        writer->n_failed = 0;
        writer->retry_at = 0;
}

/* --- the thread ----------------------------------------------------------------------------- */

static int turn(Writer *writer) {
        int r;

        writer->detail[0] = '\0';
        r = ensure_lock(writer);
        if (r != 0) {
                if (r != -EADDRINUSE)
                        load_without_lock(writer);
                return r;
        }
        note_creations(writer);
        r = ensure_open(writer);
        if (r == 0)
                r = commit(writer);
        if (r == 0)
                r = answer(writer);
        if (r == 0)
                r = look_after(writer);
        return r;
}

static void wait_for_work(Writer *writer) {
        bool is_failing = writer->retry_at > 0;
        uint64_t until = writer->tick_at;

        if (is_failing)
                until = writer->retry_at;
        else if (writer->wake.stop || writer->must_trim || !database_is_open(writer->database))
                until = 0;
        channel_wait(writer->channel, until, !is_failing, &writer->group, &writer->wake);
        if (writer->wake.poked) {
                writer->tick_at = 0;
                want_check(writer);
        }
        if (writer->wake.has_bounds) {
                database_set_history_bounds(writer->database, writer->wake.bounds.days,
                                            writer->wake.bounds.rows, writer->wake.bounds.per_name);
                writer->must_trim = true;
        }
}

/* Told to stop, what has failed is tried again only if it can succeed soon: at once in a new file,
 * or when somebody else's transaction is over. */
static bool has_ended(const Writer *writer, int r) {
        if (!writer->wake.stop)
                return false;
        if (r == 0)
                return !writer->group.first && !channel_has_changes(writer->channel);
        return r != -EBUSY && writer->retry_at > 0;
}

void *writer_run(void *userdata) {
        _cleanup_(writer_freep) Writer *writer = userdata;
        int r;

        do {
                wait_for_work(writer);
                r = turn(writer);
                if (r == 0)
                        on_success(writer);
                else
                        on_failure(writer, r);
        } while (!has_ended(writer, r));
        if (r == 0)
                database_close_cleanly(writer->database);
        database_close(writer->database);
        writer->lock = lockfile_release(writer->lock);
        channel_publish_end(writer->channel, r == 0 || is_served_around(writer, r));
        return NULL;
}
