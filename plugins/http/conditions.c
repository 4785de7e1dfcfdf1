#include "http/conditions.h"

#include <string.h>

#include "http/date.h"

/* Parses the entity-tag at the front: 8.8.3. `opaque` includes the quotes. */
static bool take_tag(struct text *rest, bool *weak, struct text *opaque) {
    uint32_t size = 1;
    *weak = rest->size > 2 && memcmp(rest->bytes, "W/", 2) == 0;
    if (*weak) {
        *rest = (struct text){rest->bytes + 2, rest->size - 2};
    }
    if (rest->size < 2 || rest->bytes[0] != '"') {
        return false;
    }
    while (size < rest->size && rest->bytes[size] != '"') {
        uint8_t c = (uint8_t)rest->bytes[size++];
        if (c <= 0x20 || c == 0x7f) {
            return false;
        }
    }
    if (size == rest->size) {
        return false;
    }
    *opaque = (struct text){rest->bytes, size + 1};
    *rest = text_trim((struct text){rest->bytes + size + 1, rest->size - size - 1});
    return true;
}

/* Weak comparison, or strong comparison, which needs two strong tags: 8.8.3.2. */
static bool is_tag_of(const struct validators *now, struct text opaque, bool weak, bool weak_too) {
    bool is_weak = now->etag[0] == 'W';
    const char *etag = now->etag + (is_weak ? 2 : 0);
    return opaque.size == strlen(etag) && memcmp(opaque.bytes, etag, opaque.size) == 0 &&
           (weak_too || (!weak && !is_weak));
}

/* Whether the list of tags has the file's; weak ones ("W/…") count if `weak_too`. False with
 * *malformed: not a valid list. */
static bool list_has_tag(struct text list, const struct validators *now, bool weak_too,
                         bool *malformed) {
    bool found = false;
    while (list.size > 0) {
        struct text opaque;
        bool weak;
        if (list.bytes[0] != ',') {
            if (!take_tag(&list, &weak, &opaque) || (list.size > 0 && list.bytes[0] != ',')) {
                *malformed = true;
                return false;
            }
            found = found || is_tag_of(now, opaque, weak, weak_too);
        } else {
            list = text_trim((struct text){list.bytes + 1, list.size - 1});
        }
    }
    return found;
}

/* Whether a condition names the file: all its fields are one list (5.3), or "*" for any file,
 * alone. An invalid condition names nothing: the response is then the safe one. */
static bool names_file(const struct request *request, const char *condition,
                       const struct validators *now, bool weak_too) {
    struct text rest = request->fields;
    struct text value;
    uint32_t count = 0;
    bool any = false;
    bool found = false;
    bool malformed = false;
    while (request_next_value(&rest, condition, &value)) {
        bool star = value.size == 1 && value.bytes[0] == '*';
        any = any || star;
        found = (!star && list_has_tag(value, now, weak_too, &malformed)) || found;
        count++;
    }
    return any ? count == 1 : found && !malformed;
}

/* Whether the file has been modified after that date; `unknown` if the date is invalid. The file
 * may have been replaced since by one with an older date: then the client's date differs from the
 * file's.
 */
static bool is_newer(struct text date, const struct validators *now, bool unknown) {
    int64_t then;
    if (!date_read(date, now->now_s, &then)) {
        return unknown;
    }
    return now->modified_s > then || (now->modified_s < then && now->changed_s > then);
}

uint32_t conditions_check(const struct request *request, const struct validators *now) {
    if (request->has_if_match) {
        if (!names_file(request, "if-match", now, false)) {
            return 412;
        }
    } else if (request->if_unmodified_since.size > 0 &&
               is_newer(request->if_unmodified_since, now, false)) {
        return 412;
    }
    if (request->has_if_none_match) {
        return names_file(request, "if-none-match", now, true) ? 304 : 200;
    }
    if (request->if_modified_since.size > 0) {
        return is_newer(request->if_modified_since, now, true) ? 200 : 304;
    }
    return 200;
}

/* Whether the validator of If-Range names the current state of the file. A date does if it equals
 * the file's and is at least a second old: a file may change twice in a second (8.8.2.2). */
static bool condition_is_same(struct text validator, const struct validators *now) {
    int64_t then;
    struct text opaque;
    bool weak;
    if (date_read(validator, now->now_s, &then)) {
        return then == now->modified_s && then < now->now_s;
    }
    return take_tag(&validator, &weak, &opaque) && validator.size == 0 &&
           is_tag_of(now, opaque, weak, false);
}

bool conditions_want_range(const struct request *request, const struct validators *now) {
    return request->range.size > 0 && request->method == METHOD_GET &&
           (!request->if_range.bytes || condition_is_same(request->if_range, now));
}
