/* A syslog message and its line: whatever comes, what is found lies within it, and what is written
 * is one line of harmless text, as long as it says to be.
 *
 * Input: whether the datagram was cut off, then the datagram.
 *
 * Links: plugins/datagram/syslog_read.c plugins/datagram/syslog_write.c plugins/common/utf8.c */
#include <string.h>

#include "common/utf8.h"
#include "datagram/syslog.h"
#include "fuzz.h"

enum { DATAGRAM_MAX = 4096, LINE_MAX = 4 * DATAGRAM_MAX + 256 };

static void check_span(const struct syslog_span *span, const uint8_t *bytes, size_t size) {
    FUZZ_CHECK(span->bytes >= bytes && span->bytes <= bytes + size);
    FUZZ_CHECK(span->size <= (size_t)(bytes + size - span->bytes));
}

static void check_message(const struct syslog_message *message, const uint8_t *bytes, size_t size) {
    const struct syslog_span *fields[] = {&message->timestamp, &message->hostname,
                                          &message->app_name,  &message->procid,
                                          &message->msgid,     &message->data};
    FUZZ_CHECK(message->facility <= 23 && message->severity <= 7);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        check_span(fields[i], bytes, size);
        FUZZ_CHECK(fields[i]->size > 0);
    }
    check_span(&message->text, bytes, size);
}

static size_t write_line(char *text, size_t capacity, const uint8_t *bytes, size_t size,
                         const struct syslog_message *message, bool truncated) {
    struct syslog_line line = {.bytes = text, .capacity = capacity};
    if (message) {
        syslog_write(&line, "R", "S", message, truncated);
    } else {
        syslog_write_malformed(&line, "R", "S", bytes, (uint32_t)size, truncated);
    }
    return line.size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char line[LINE_MAX];
    if (size < 1 || size > DATAGRAM_MAX) {
        return 0;
    }
    bool truncated = (data[0] & 1) != 0;
    uint8_t *bytes = malloc(size); /* of its own, so that a read beyond it is seen */
    memcpy(bytes, data + 1, size - 1);
    size--;
    struct syslog_message message;
    bool whole = syslog_read(bytes, (uint32_t)size, truncated, &message) == NULL;
    if (whole) {
        check_message(&message, bytes, size);
    }
    const struct syslog_message *shown = whole ? &message : NULL;
    size_t written = write_line(line, sizeof(line), bytes, size, shown, truncated);
    FUZZ_CHECK(written > 0 && written <= sizeof(line) && line[written - 1] == '\n');
    FUZZ_CHECK(utf8_is_text((const uint8_t *)line, written - 1));
    char *tight = malloc(written); /* too small by one: nothing beyond it is touched */
    FUZZ_CHECK(write_line(tight, written - 1, bytes, size, shown, truncated) == written);
    free(tight);
    free(bytes);
    return 0;
}
