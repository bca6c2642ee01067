/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows where the files are and what their lines look like. Does not know what a setting means (settings).
 *
 * The trap: inih keeps quiet about much. It cuts a long line in two, a section's name at 49 bytes, stays in the
 * section before when a heading lacks its bracket, and takes an indented line for the continuation of the one
 * above. So each line is looked at here before inih sees it, one at a time; what it must not see it is not shown.
 */

#include "config/config_file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"

#define SECTION_BYTES_MAX 49 /* inih's */
#define RESERVE "reserve"
#define NODE "node"
#define NODES_DIRECTORY "nodes.d"

typedef enum SectionKind {
        SECTION_NONE,     /* before the first heading */
        SECTION_SETTINGS,
        SECTION_RESERVE,
        SECTION_NODE,
        SECTION_BAD, /* what follows was told with its heading */
} SectionKind;

typedef struct Reader {
        const char *path;
        bool has_nodes_only; /* of nodes.d */
        const char *text; /* the whole file */
        size_t n_text, offset;
        unsigned line; /* of the line that inih has */
        SectionKind section;
        char label[SECTION_BYTES_MAX + 1]; /* SECTION_RESERVE */
        Draft *draft;
        Problems *problems;
        int error; /* 0 or -ENOMEM */
} Reader;

/* The line as it may be shown. */
#define SHOWN_MAX 512

static void reader_complain(Reader *reader, const char *what, const char *text, const char *why) {
        char shown[SHOWN_MAX], shown_why[SHOWN_MAX];

        problems_add_error(reader->problems, "%s:%u: %s%s%s", reader->path, reader->line, what,
                           text ? log_printable(text, strlen(text), shown, sizeof shown) : "",
                           why ? log_printable(why, strlen(why), shown_why, sizeof shown_why) : "");
}

static void reader_format_origin(const Reader *reader, char *out, size_t n_out) {
        snprintf(out, n_out, "%s:%u", reader->path, reader->line);
}

/* --- what inih found -------------------------------------------------------------------------------- */

static int reader_set_reservation(Reader *reader, const char *key, const char *value, const char *origin, char **why) {
        DraftReservation *reservation = draft_open_reservation(reader->draft, reader->label, origin);

        if (!reservation)
                return -ENOMEM;
        if (strcmp(key, "names") == 0)
                return draft_set_names(reader->draft, reservation, value, origin, why);
        if (strcmp(key, "for") == 0)
                return draft_set_owners(reader->draft, reservation, value, origin, why);
        return -ENOENT;
}

static int reader_set(Reader *reader, const char *section, const char *key, const char *value, char **why) {
        char origin[4096 + 32];
        SettingId id;

        reader_format_origin(reader, origin, sizeof origin);
        if (reader->section == SECTION_RESERVE)
                return reader_set_reservation(reader, key, value, origin, why);
        if (reader->section == SECTION_NODE)
                return node_drafts_set(&reader->draft->nodes, key, value, why);
        id = setting_find(section, key);
        return id == _SETTING_N ? -ENOENT : draft_set(reader->draft, id, value, origin, why);
}

/* Whatever is wrong is told here; for inih all is well. */
static int on_pair(void *userdata, const char *section, const char *key, const char *value) {
        Reader *reader = userdata;
        _cleanup_(freep) char *why = NULL;
        char shown[SHOWN_MAX];
        int r;

        /* Some builds of inih also tell of headings, and of keys without a value. */
        if (reader->section == SECTION_BAD || !key)
                return 1;
        log_printable(key, strlen(key), shown, sizeof shown);
        if (reader->section == SECTION_NONE) {
                reader_complain(reader, "", key, " stands before the first [section]");
                return 1;
        }
        r = reader_set(reader, section, key, value ? value : "", &why);
        if (r == -ENOENT)
                problems_add_error(reader->problems, "%s:%u: there is no setting '%s' in [%s]", reader->path,
                                   reader->line, shown,
                                   reader->section == SECTION_RESERVE ? RESERVE
                                   : reader->section == SECTION_NODE  ? NODE
                                                                      : section);
        else if (r == -EINVAL)
                reader_complain(reader, shown, " ", why);
        else if (r < 0)
                reader->error = r;
        return 1;
}

/* --- lines, before inih sees them -------------------------------------------------------------------- */

static char *skip_blanks(char *text) {
        return text + strspn(text, " \t");
}

static bool is_comment(const char *text) {
        return !*text || *text == '#' || *text == ';';
}

/* The first of `wanted` in front of any comment, as inih has it: NULL, there is none. */
static const char *find_before_comment(const char *line, const char *wanted) {
        const char *at = line + strcspn(line, wanted), *comment = line;

        while ((comment = strchr(comment + 1, ';')) && comment < at)
                if (strchr(" \t", comment[-1]))
                        return NULL;
        return *at ? at : NULL;
}

/* Without blanks at its ends; false: nothing is left. */
static bool reader_set_label(Reader *reader, const char *text) {
        text += strspn(text, " \t");
        snprintf(reader->label, sizeof reader->label, "%s", text);
        for (size_t n = strlen(reader->label); n > 0 && strchr(" \t", reader->label[n - 1]); n--)
                reader->label[n - 1] = 0;
        return reader->label[0];
}

static void reader_begin_node(Reader *reader, const char *heading) {
        _cleanup_(freep) char *why = NULL;
        char origin[4096 + 32];
        int r;

        if (!reader_set_label(reader, heading + strlen(NODE))) {
                reader_complain(reader, "[node] needs a name, for instance [node mail]", NULL, NULL);
                return;
        }
        reader_format_origin(reader, origin, sizeof origin);
        r = node_drafts_begin(&reader->draft->nodes, reader->label, reader->path, origin, &why);
        if (r == -EINVAL)
                reader_complain(reader, "[node] ", why, NULL);
        else if (r < 0)
                reader->error = r;
        reader->section = SECTION_NODE;
}

/* `heading` is what stands between the brackets. */
static void reader_begin_reserve(Reader *reader, const char *heading) {
        char origin[4096 + 32];

        if (!reader_set_label(reader, heading + strlen(RESERVE))) {
                reader_complain(reader, "[reserve] needs a label of its own, for instance [reserve mail]", NULL, NULL);
                return;
        }
        reader_format_origin(reader, origin, sizeof origin);
        if (!draft_open_reservation(reader->draft, reader->label, origin))
                reader->error = -ENOMEM;
        reader->section = SECTION_RESERVE;
}

static const char *describe_bad_heading(const char *line, const char *end) {
        if (!end)
                return " lacks its closing bracket";
        return end - line - 1 > SECTION_BYTES_MAX ? " is longer than 49 bytes" : " has something behind its bracket";
}

/* "reserve mail" is of the kind "reserve", "reserves" is not. */
static bool is_of_kind(const char *heading, const char *kind) {
        size_t n = strlen(kind);

        return strncmp(heading, kind, n) == 0 && (!heading[n] || strchr(" \t", heading[n]));
}

/* The line from '[' on. True if inih may see it. */
static bool reader_begin_section(Reader *reader, const char *line) {
        const char *end = find_before_comment(line, "]"), *rest = end ? end + 1 : NULL;
        char heading[SECTION_BYTES_MAX + 1];

        reader->section = SECTION_BAD;
        if (!end || end - line - 1 > SECTION_BYTES_MAX || !is_comment(rest + strspn(rest, " \t"))) {
                reader_complain(reader, "", line, describe_bad_heading(line, end));
                return false;
        }
        snprintf(heading, sizeof heading, "%.*s", (int)(end - line - 1), line + 1);
        if (is_of_kind(heading, NODE))
                reader_begin_node(reader, heading);
        else if (reader->has_nodes_only)
                reader_complain(reader, "there is no section [", heading, "] in files of nodes.d, only [node NAME]");
        else if (setting_has_section(heading))
                reader->section = SECTION_SETTINGS;
        else if (is_of_kind(heading, RESERVE))
                reader_begin_reserve(reader, heading);
        else
                reader_complain(reader, "there is no section [", heading, "]");
        return reader->section != SECTION_BAD;
}

/* A line that cannot be read may have said the opposite of what the others say. */
static void reader_break_entry(Reader *reader) {
        if (reader->section == SECTION_NODE)
                node_drafts_break(&reader->draft->nodes);
}

/* The line is left out, whatever it was to say. */
static void reader_skip(Reader *reader, const char *line) {
        reader_break_entry(reader);
        /* It may have been a heading. */
        if (*line == '[')
                reader->section = SECTION_BAD;
}

/* Some are blanks to inih, which drops them at the ends of a value. */
static bool has_control_character(const char *line) {
        for (; *line; line++)
                if (((unsigned char)*line < 0x20 && *line != '\t') || *line == 0x7f)
                        return true;
        return false;
}

/* True if inih may see the line, which has no blanks at its ends. */
static bool reader_admit(Reader *reader, const char *line, int n_room) {
        if (is_comment(line))
                return false;
        if (strlen(line) > CONFIG_FILE_LINE_MAX || strlen(line) + 3 > (size_t)n_room) {
                reader_skip(reader, line);
                problems_add_error(reader->problems,
                                   "%s:%u: the line is longer than %d bytes; a list may go on in a second line with "
                                   "the same key",
                                   reader->path, reader->line, CONFIG_FILE_LINE_MAX);
                return false;
        }
        if (has_control_character(line)) {
                reader_skip(reader, line);
                reader_complain(reader, "'", line, "' has a control character in it");
                return false;
        }
        if (*line == '[')
                return reader_begin_section(reader, line);
        if (find_before_comment(line, "=:"))
                return true;
        reader_break_entry(reader);
        if (reader->section != SECTION_BAD)
                reader_complain(reader, "'", line, "' is neither [section] nor key = value");
        return false;
}

/* The next line of the file, without blanks at its ends; NULL: there is none. */
static char *reader_take_line(Reader *reader) {
        const char *start = reader->text + reader->offset, *end;
        size_t n = reader->n_text - reader->offset, n_line;

        if (n == 0)
                return NULL;
        end = memchr(start, '\n', n);
        n_line = end ? (size_t)(end - start) : n;
        reader->offset += n_line + (end ? 1 : 0);
        reader->line++;
        while (n_line > 0 && strchr(" \t\r", start[n_line - 1]))
                n_line--;
        return strndup(start, n_line);
}

/* inih's reader: like fgets(). A line that it must not see is an empty one. */
static char *reader_on_line(char *out, int n_out, void *userdata) {
        Reader *reader = userdata;
        _cleanup_(freep) char *line = NULL;

        if (reader->error < 0 || reader->offset == reader->n_text)
                return NULL;
        line = reader_take_line(reader);
        if (!line) {
                reader->error = -ENOMEM;
                return NULL;
        }
        snprintf(out, (size_t)n_out, "%s\n", reader_admit(reader, skip_blanks(line), n_out) ? skip_blanks(line) : "");
        return out;
}

int config_file_parse(const char *path, const char *text, size_t n_text, bool has_nodes_only, Draft *draft,
                      Problems *problems) {
        static const char bom[] = "\xef\xbb\xbf";
        Reader reader = {
                .path = path,
                .has_nodes_only = has_nodes_only,
                .text = text,
                .n_text = n_text,
                .draft = draft,
                .problems = problems,
        };
        int line;

        if (n_text >= 3 && memcmp(text, bom, 3) == 0)
                reader.offset = 3;
        draft_begin_source(draft);
        line = ini_parse_stream(reader_on_line, &reader, on_pair, &reader);
        if (reader.error < 0)
                return reader.error;
        if (line < 0)
                return -ENOMEM;
        /* Its first one; we have shown it none. */
        if (line > 0)
                problems_add_error(problems, "%s:%d: this is neither [section] nor key = value", path, line);
        return 0;
}

/* --- files ------------------------------------------------------------------------------------------- */

/* A pipe is not waited for. /dev/null is an empty file: that is how a file of the same name is masked. */
static int open_file(const char *path, size_t *ret_n_bytes) {
        _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
                return -EINVAL;
        if (st.st_size > CONFIG_FILE_BYTES_MAX)
                return -EFBIG;
        *ret_n_bytes = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
        return TAKE_FD(fd);
}

/* `*ret` is terminated. */
static int read_file(const char *path, char **ret, size_t *ret_n) {
        _cleanup_(freep) char *text = NULL;
        size_t n_bytes = 0, n = 0;
        _cleanup_(close_fdp) int fd = open_file(path, &n_bytes);

        if (fd < 0)
                return fd;
        text = calloc(1, n_bytes + 1);
        if (!text)
                return -ENOMEM;
        while (n < n_bytes) {
                ssize_t got = read(fd, text + n, n_bytes - n);

                if (got < 0 && errno == EINTR)
                        continue;
                if (got < 0)
                        return -errno;
                if (got == 0)
                        break;
                n += (size_t)got;
        }
        *ret = TAKE_PTR(text);
        *ret_n = n;
        return 0;
}

static int add_path(ConfigFiles *files, const char *path) {
        char **grown = reallocarray(files->paths, files->n_paths + 1, sizeof *grown);

        if (!grown)
                return -ENOMEM;
        files->paths = grown;
        grown[files->n_paths] = strdup(path);
        if (!grown[files->n_paths])
                return -ENOMEM;
        files->n_paths++;
        return 0;
}

/* Where what is read goes. */
typedef struct Sink {
        Draft *draft;
        Problems *problems;
        ConfigFiles *files;
        bool has_nodes_only;
} Sink;

static const char *describe(int error) {
        if (error == -EINVAL)
                return "it is no file";
        if (error == -EILSEQ)
                return "it is no text";
        if (error == -EFBIG)
                return "it is larger than 1 MiB";
        return strerror(-error);
}

/* 0; -ENOENT; -ENOMEM; what else keeps it from being read has been told. */
static int read_one(const char *path, const Sink *sink) {
        _cleanup_(freep) char *text = NULL;
        size_t n_text = 0;
        struct stat st;
        int r = read_file(path, &text, &n_text);

        if (r == -ENOMEM || (r == -ENOENT && lstat(path, &st) < 0))
                return r;
        if (r == 0 && memchr(text, 0, n_text))
                r = -EILSEQ;
        if (r < 0) {
                problems_add_error(sink->problems, "%s cannot be read: %s", path, describe(r));
                return 0;
        }
        r = add_path(sink->files, path);
        return r < 0 ? r
                     : config_file_parse(path, text, n_text, sink->has_nodes_only, sink->draft, sink->problems);
}

static int is_drop_in(const struct dirent *entry) {
        size_t n = strlen(entry->d_name);

        return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_drop_in(const char *directory, const char *name, const Sink *sink) {
        _cleanup_(freep) char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s", directory, name) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = read_one(path, sink);
        return r == -ENOENT ? 0 : r; /* just removed */
}

static int read_directory(const char *directory, const Sink *sink) {
        struct dirent **entries = NULL;
        int n = scandir(directory, &entries, is_drop_in, by_name), r = 0;

        if (n < 0 && errno == ENOMEM)
                return -ENOMEM;
        if (n < 0 && errno != ENOENT)
                problems_add_error(sink->problems, "%s cannot be read: %s", directory, strerror(errno));
        for (int i = 0; i < n; i++) {
                if (r == 0)
                        r = read_drop_in(directory, entries[i]->d_name, sink);
                free(entries[i]);
        }
        free(entries);
        return r;
}

void config_files_done(ConfigFiles *files) {
        for (size_t i = 0; i < files->n_paths; i++)
                free(files->paths[i]);
        free(files->paths);
        *files = (ConfigFiles){ 0 };
}

static int read_drop_ins(const char *path, const Sink *sink) {
        _cleanup_(freep) char *directory = NULL;

        if (asprintf(&directory, "%s.d", path) < 0) {
                directory = NULL;
                return -ENOMEM;
        }
        return read_directory(directory, sink);
}

/* Beside the main file. */
static int read_nodes(const char *path, const Sink *sink) {
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *directory = NULL;
        Sink nodes = *sink;

        if (asprintf(&directory, "%.*s" NODES_DIRECTORY, slash ? (int)(slash - path + 1) : 0, path) < 0) {
                directory = NULL;
                return -ENOMEM;
        }
        nodes.has_nodes_only = true;
        return read_directory(directory, &nodes);
}

int config_files_read(const char *path, bool must_exist, Draft *draft, Problems *problems, ConfigFiles *ret) {
        _cleanup_(config_files_done) ConfigFiles files = { 0 };
        const Sink sink = { .draft = draft, .problems = problems, .files = &files };
        int r = read_one(path, &sink);

        if (r == -ENOENT && must_exist)
                problems_add_error(problems, "%s cannot be read: %s", path, strerror(ENOENT));
        if (r < 0 && r != -ENOENT)
                return r;
        r = read_drop_ins(path, &sink);
        if (r == 0)
                r = read_nodes(path, &sink);
        if (r < 0)
                return r;
        *ret = files;
        files = (ConfigFiles){ 0 };
        return 0;
}
