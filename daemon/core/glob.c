/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what a shell pattern means, and follows all that a name can still become at the same time: one bit for each
 * item of each pattern, so that no pattern makes us go back and try again (P6).
 *
 *      pattern   w  *  [ab]        items    w  [ab]
 *      bits     0  1  1  2         bit 0: nothing is matched yet, 1: `w` is, and a star follows, 2: all is
 *
 * With each byte of the name every bit that is set moves on by one if the next item takes that byte, and one that is
 * followed by a star stays as well. Most bytes mean the same to all items: they share their row of the table.
 *
 * The trap: a bit that moves on from the end of one pattern must not begin the next; no item leads to the first bit.
 */

#include "core/glob.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#define WORD_BITS 64
#define N_WORDS_MAX (GLOB_ITEMS_MAX / WORD_BITS)
#define N_BYTES 256

typedef struct GlobSet {
        uint64_t words[N_BYTES / WORD_BITS];
} GlobSet;

struct Glob {
        size_t n_words; /* of a row */
        uint64_t starts[N_WORDS_MAX], stays[N_WORDS_MAX], ends[N_WORDS_MAX];
        uint8_t row_of[N_BYTES];
        uint64_t rows[]; /* n_words for each kind of byte: the bits to which it leads */
};

/* While it is read. */
typedef struct Reader {
        const char *at, *end;
} Reader;

/* The table before its rows are shared. */
typedef struct Draft {
        size_t n_bits;
        uint64_t starts[N_WORDS_MAX], stays[N_WORDS_MAX], ends[N_WORDS_MAX];
        uint64_t rows[N_BYTES][N_WORDS_MAX];
} Draft;

static void bit_set(uint64_t *words, size_t bit) {
        words[bit / WORD_BITS] |= UINT64_C(1) << bit % WORD_BITS;
}

static bool bit_is_set(const uint64_t *words, size_t bit) {
        return words[bit / WORD_BITS] >> bit % WORD_BITS & 1;
}

/* --- sets ------------------------------------------------------------------------------------- */

static void set_add_range(GlobSet *set, unsigned first, unsigned last) {
        for (unsigned byte = first; byte <= last; byte++)
                bit_set(set->words, byte);
}

static void set_invert(GlobSet *set) {
        for (size_t i = 0; i < ELEMENTS(set->words); i++)
                set->words[i] = ~set->words[i];
}

static bool set_add_class(GlobSet *set, const char *name, size_t n_name) {
        static const struct {
                const char *name;
                int (*is_in)(int byte);
        } classes[] = {
                { "alnum", isalnum }, { "alpha", isalpha }, { "blank", isblank }, { "cntrl", iscntrl },
                { "digit", isdigit }, { "graph", isgraph }, { "lower", islower }, { "print", isprint },
                { "punct", ispunct }, { "space", isspace }, { "upper", isupper }, { "xdigit", isxdigit },
        };

        for (size_t i = 0; i < ELEMENTS(classes); i++) {
                if (strlen(classes[i].name) != n_name || memcmp(classes[i].name, name, n_name) != 0)
                        continue;
                for (int byte = 0; byte < N_BYTES; byte++)
                        if (classes[i].is_in(byte))
                                bit_set(set->words, (size_t)byte);
                return true;
        }
        return false;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool reader_is_at(const Reader *reader, char byte) {
        return reader->at < reader->end && *reader->at == byte;
}

/* The next byte, or the one behind a backslash. */
static int read_byte(Reader *reader, unsigned *ret) {
        if (reader_is_at(reader, '\\'))
                reader->at++;
        if (reader->at == reader->end)
                return -EINVAL;
        *ret = (uint8_t)*reader->at++;
        return 0;
}

/* Behind "[:": up to ":]". */
static int read_class(Reader *reader, GlobSet *set) {
        const char *name = reader->at;

        while (reader->at < reader->end && islower((unsigned char)*reader->at))
                reader->at++;
        if (reader->end - reader->at < 2 || memcmp(reader->at, ":]", 2) != 0)
                return -EINVAL;
        if (!set_add_class(set, name, (size_t)(reader->at - name)))
                return -EINVAL;
        reader->at += 2;
        return 0;
}

/* One byte, or a range; a minus that stands last is itself. */
static int read_range(Reader *reader, GlobSet *set) {
        unsigned first, last;
        int r = read_byte(reader, &first);

        if (r < 0)
                return r;
        last = first;
        if (reader_is_at(reader, '-') && reader->end - reader->at > 1 && reader->at[1] != ']') {
                reader->at++;
                if (reader_is_at(reader, '['))
                        return -EINVAL; /* [a-[.z.]] */
                r = read_byte(reader, &last);
        }
        set_add_range(set, first, last);
        return r;
}

/* Behind the "[": up to its "]", which is itself where it stands first. */
static int read_set(Reader *reader, GlobSet *set) {
        bool is_inverted = reader_is_at(reader, '!') || reader_is_at(reader, '^'), is_first = true;
        int r = 0;

        reader->at += is_inverted;
        for (; r == 0 && (is_first || !reader_is_at(reader, ']')); is_first = false) {
                if (reader->end - reader->at < 2 || *reader->at != '[')
                        r = read_range(reader, set);
                else if (reader->at[1] == ':') {
                        reader->at += 2;
                        r = read_class(reader, set);
                } else if (reader->at[1] == '.' || reader->at[1] == '=')
                        r = -EINVAL;
                else
                        r = read_range(reader, set);
        }
        if (r < 0)
                return r;
        reader->at++;
        if (is_inverted)
                set_invert(set);
        return 0;
}

static int read_item(Reader *reader, GlobSet *set) {
        unsigned byte;
        int r;

        if (reader_is_at(reader, '?')) {
                reader->at++;
                set_invert(set);
                return 0;
        }
        if (reader_is_at(reader, '[')) {
                reader->at++;
                return read_set(reader, set);
        }
        r = read_byte(reader, &byte);
        if (r == 0)
                bit_set(set->words, byte);
        return r;
}

/* --- the table -------------------------------------------------------------------------------- */

/* The item behind the last bit. */
static int draft_add_item(Draft *draft, const GlobSet *set) {
        if (draft->n_bits == GLOB_ITEMS_MAX)
                return -E2BIG;
        for (size_t byte = 0; byte < N_BYTES; byte++)
                if (bit_is_set(set->words, byte))
                        bit_set(draft->rows[byte], draft->n_bits);
        draft->n_bits++;
        return 0;
}

static int draft_add(Draft *draft, const GlobPattern *pattern) {
        Reader reader = { pattern->text, pattern->text + pattern->n_text };
        int r = draft_add_item(draft, &(GlobSet){ 0 });

        if (r < 0)
                return r;
        bit_set(draft->starts, draft->n_bits - 1);
        while (r == 0 && reader.at < reader.end) {
                GlobSet set = { 0 };

                if (reader_is_at(&reader, '*')) {
                        reader.at++;
                        bit_set(draft->stays, draft->n_bits - 1);
                        continue;
                }
                r = read_item(&reader, &set);
                if (r == 0)
                        r = draft_add_item(draft, &set);
        }
        if (r == 0)
                bit_set(draft->ends, draft->n_bits - 1);
        return r;
}

/* Says for each byte which of the different rows is its own. Returns how many there are. */
static size_t draft_share_rows(const Draft *draft, uint8_t row_of[static N_BYTES], uint8_t byte_of[static N_BYTES]) {
        size_t n_rows = 0;

        for (size_t byte = 0; byte < N_BYTES; byte++) {
                size_t row = 0;

                while (row < n_rows &&
                       memcmp(draft->rows[byte_of[row]], draft->rows[byte], sizeof draft->rows[byte]) != 0)
                        row++;
                if (row == n_rows)
                        byte_of[n_rows++] = (uint8_t)byte;
                row_of[byte] = (uint8_t)row;
        }
        return n_rows;
}

static Glob *draft_finish(const Draft *draft) {
        uint8_t row_of[N_BYTES], byte_of[N_BYTES];
        size_t n_rows = draft_share_rows(draft, row_of, byte_of);
        size_t n_words = (draft->n_bits + WORD_BITS - 1) / WORD_BITS;
        Glob *glob = calloc(1, sizeof *glob + n_rows * n_words * sizeof *glob->rows);

        if (!glob)
                return NULL;
        glob->n_words = n_words;
        memcpy(glob->starts, draft->starts, sizeof glob->starts);
        memcpy(glob->stays, draft->stays, sizeof glob->stays);
        memcpy(glob->ends, draft->ends, sizeof glob->ends);
        memcpy(glob->row_of, row_of, sizeof glob->row_of);
        for (size_t row = 0; row < n_rows; row++)
                memcpy(glob->rows + row * n_words, draft->rows[byte_of[row]], n_words * sizeof *glob->rows);
        return glob;
}

int glob_new(Glob **ret, const GlobPattern *patterns, size_t n_patterns) {
        Draft draft = { 0 };

        for (size_t i = 0; i < n_patterns; i++) {
                int r = draft_add(&draft, patterns + i);

                if (r < 0)
                        return r;
        }
        *ret = draft_finish(&draft);
        return *ret ? 0 : -ENOMEM;
}

Glob *glob_free(Glob *glob) {
        free(glob);
        return NULL;
}

/* --- matching --------------------------------------------------------------------------------- */

/* False once nothing can come of it any more. */
static bool glob_step(const Glob *glob, uint64_t *bits, uint8_t byte) {
        const uint64_t *row = glob->rows + glob->row_of[byte] * glob->n_words;
        uint64_t carry = 0, all = 0;

        for (size_t i = 0; i < glob->n_words; i++) {
                uint64_t moved = bits[i] << 1 | carry;

                carry = bits[i] >> (WORD_BITS - 1);
                bits[i] = (moved & row[i]) | (bits[i] & glob->stays[i]);
                all |= bits[i];
        }
        return all != 0;
}

bool glob_matches(const Glob *glob, const char *name, size_t n_name) {
        uint64_t bits[N_WORDS_MAX], all = 0;

        memcpy(bits, glob->starts, sizeof bits);
        for (size_t i = 0; i < n_name; i++)
                if (!glob_step(glob, bits, (uint8_t)name[i]))
                        return false;
        for (size_t i = 0; i < glob->n_words; i++)
                all |= bits[i] & glob->ends[i];
        return all != 0;
}

size_t glob_literal_beginning(const GlobPattern *pattern, bool *ret_is_whole) {
        size_t n = 0;

        while (n < pattern->n_text && !strchr("*?[\\", pattern->text[n]))
                n++;
        *ret_is_whole = n == pattern->n_text;
        return n;
}
