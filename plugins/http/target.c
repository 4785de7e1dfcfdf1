#include "http/target.h"

#include <string.h>

#include "common/utf8.h"

/* One byte of the path, decoded; -1 for a bad escape. An encoded slash is refused, because software
 * that decodes before splitting would interpret it differently. */
static int take_byte(struct text *path) {
    char c = path->bytes[0];
    uint32_t size = 1;
    int byte = (uint8_t)c;
    if (c == '%') {
        int high = path->size >= 3 ? char_to_digit((uint8_t)path->bytes[1]) : -1;
        int low = path->size >= 3 ? char_to_digit((uint8_t)path->bytes[2]) : -1;
        byte = high >= 0 && low >= 0 ? high << 4 | low : -1;
        byte = byte == '/' ? -1 : byte;
        size = 3;
    }
    path->bytes += byte < 0 ? path->size : size;
    path->size -= byte < 0 ? path->size : size;
    return byte < 0x20 || byte == 0x7f || byte == '\\' ? -1 : byte;
}

static bool stem_is(const char *stem, size_t size, const char *word) {
    for (size_t i = 0; i < size; i++) {
        if (word[i] == '\0' || (stem[i] | 0x20) != (word[i] | 0x20)) {
            return false;
        }
    }
    return word[size] == '\0';
}

/* CON, PRN, AUX, NUL, COM0-9, LPT0-9 (the digits also as the superscripts of Latin-1), CONIN$,
 * CONOUT$, CLOCK$: with any extension, and with spaces before the extension.
 * Source: "Naming Files, Paths, and Namespaces" of the Win32 documentation. */
static bool target_is_device(const char *name, size_t size) {
    static const char *const words[] = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"};
    const char *dot = memchr(name, '.', size);
    size_t stem = dot ? (size_t)(dot - name) : size;
    while (stem > 0 && name[stem - 1] == ' ') {
        stem--;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (stem_is(name, stem, words[i])) {
            return true;
        }
    }
    if (stem < 4 || !(stem_is(name, 3, "com") || stem_is(name, 3, "lpt"))) {
        return false;
    }
    bool digit = stem == 4 && name[3] >= '0' && name[3] <= '9';
    bool superscript =
        stem == 5 && (uint8_t)name[3] == 0xc2 &&
        ((uint8_t)name[4] == 0xb9 || (uint8_t)name[4] == 0xb2 || (uint8_t)name[4] == 0xb3);
    return digit || superscript;
}

/* A name as Windows makes it for programs of MS-DOS, "SECRET~1" or "INDE~P2W.HTM": at most eight
 * and three characters, and a number or letters after a tilde. It is a second name of a file, and
 * would bypass rules for the file's own name. */
static bool is_alias(const char *name, size_t size) {
    const char *dot = memchr(name, '.', size);
    size_t stem = dot ? (size_t)(dot - name) : size;
    size_t letters = 0; /* after the last tilde */
    size_t counts[2] = {0, 0};
    bool tilde = false;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)name[i];
        counts[i > stem] += (c & 0xc0) != 0x80 ? 1 : 0; /* characters, not bytes */
        if (i < stem) {
            bool letter = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
            tilde = c == '~' ? i > 0 : tilde && letter;
            letters = c == '~' ? 0 : letters + 1;
        }
    }
    return tilde && letters > 0 && counts[0] <= 8 + (dot ? 1 : 0) && counts[1] <= 3;
}

/* Whether a file may have that name. */
static bool can_be_file(const char *part, size_t size, bool dot_files) {
    if (part[0] == '.' && !dot_files && !(size == 11 && memcmp(part, ".well-known", 11) == 0)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (strchr(":*?\"<>|", part[i])) {
            return false;
        }
    }
    return part[size - 1] != '.' && part[size - 1] != ' ' && !target_is_device(part, size) &&
           !is_alias(part, size);
}

/* Removes the last part: "a/b/" becomes "a/". False at the root. */
static bool go_up(const char *name, size_t *used) {
    if (*used == 0) {
        return false;
    }
    (*used)--;
    while (*used > 0 && name[*used - 1] != '/') {
        (*used)--;
    }
    return true;
}

/* The part that begins at `begin` is complete: dots are resolved (RFC 3986, 5.2.4). */
static uint32_t end_part(char *name, size_t begin, size_t *used, bool dot_files) {
    size_t size = *used - begin;
    const char *part = name + begin;
    bool here = size == 1 && part[0] == '.';
    bool up = size == 2 && part[0] == '.' && part[1] == '.';
    if (here || up) {
        *used = begin;
        return !up || go_up(name, used) ? 0 : 400;
    }
    if (!utf8_is_text((const uint8_t *)part, size)) {
        return 400;
    }
    return size == 0 || can_be_file(part, size, dot_files) ? 0 : 404;
}

uint32_t target_to_name(struct text path, bool dot_files, char name[NAME_BYTES_MAX]) {
    size_t used = 0;
    size_t begin = 0;
    uint32_t refused = 0;
    if (path.size == 0 || path.bytes[0] != '/') {
        return 400;
    }
    path.bytes++;
    path.size--;
    while (path.size > 0) {
        bool ends = path.bytes[0] == '/';
        int byte = take_byte(&path);
        if (byte < 0) {
            return 400;
        }
        if (used + 2 > NAME_BYTES_MAX) {
            return 414;
        }
        if (!ends) {
            name[used++] = (char)byte;
        }
        if (ends || path.size == 0) {
            bool named = used > begin;
            uint32_t status = end_part(name, begin, &used, dot_files);
            if (status == 400) {
                return 400;
            }
            refused = status != 0 ? status : refused;
            if (ends && named && used > 0 && name[used - 1] != '/') {
                name[used++] = '/'; /* several slashes are one */
            }
            begin = used;
        }
    }
    name[used] = '\0';
    return refused;
}
