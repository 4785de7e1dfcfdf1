#include "http/date.h"

#include <string.h>

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct date {
    int32_t year;
    int32_t month; /* 1 to 12 */
    int32_t day;
    int32_t hour;
    int32_t minute;
    int32_t second;
};

/* Days since 1970-01-01 of the proleptic Gregorian calendar: years begin in March here, so that the
 * leap day is the last one. */
static int64_t days_of(int32_t year, int32_t month, int32_t day) {
    int64_t y = month <= 2 ? (int64_t)year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static struct date date_of(int64_t unix_s) {
    int64_t day = unix_s / 86400 - (unix_s % 86400 < 0 ? 1 : 0);
    int32_t rest = (int32_t)(unix_s - day * 86400);
    int64_t z = day + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    return (struct date){
        .year = (int32_t)(year_of_era + era * 400 + (month >= 10 ? 1 : 0)),
        .month = (int32_t)(month < 10 ? month + 3 : month - 9),
        .day = (int32_t)(day_of_year - (153 * month + 2) / 5 + 1),
        .hour = rest / 3600,
        .minute = rest / 60 % 60,
        .second = rest % 60,
    };
}

static void date_put_number(char *at, int32_t number, unsigned digits) {
    while (digits > 0) {
        at[--digits] = (char)('0' + number % 10);
        number /= 10;
    }
}

void date_write(int64_t unix_s, char text[DATE_BYTES]) {
    struct date date = date_of(unix_s);
    int64_t day = days_of(date.year, date.month, date.day);
    memcpy(text, "Sun, 01 Jan 1970 00:00:00 GMT", DATE_BYTES);
    memcpy(text, days + ((day + 4) % 7 + 7) % 7 * 3, 3); /* 1970-01-01 was a Thursday */
    date_put_number(text + 5, date.day, 2);
    memcpy(text + 8, months + (size_t)(date.month - 1) * 3, 3);
    date_put_number(text + 12, date.year, 4);
    date_put_number(text + 17, date.hour, 2);
    date_put_number(text + 20, date.minute, 2);
    date_put_number(text + 23, date.second, 2);
}

/* -- reading --------------------------------------------------------------- */

/* The unread text; not ok after a syntax error. */
struct scan {
    struct text rest;
    bool ok;
};

static char date_take(struct scan *scan) {
    if (!scan->ok || scan->rest.size == 0) {
        scan->ok = false;
        return '\0';
    }
    scan->rest.size--;
    return *scan->rest.bytes++;
}

static void date_expect(struct scan *scan, const char *text) {
    for (; *text != '\0'; text++) {
        scan->ok = date_take(scan) == *text && scan->ok;
    }
}

static int32_t date_take_number(struct scan *scan, unsigned digits) {
    int32_t number = 0;
    while (digits-- > 0) {
        char c = date_take(scan);
        scan->ok = scan->ok && c >= '0' && c <= '9';
        number = number * 10 + (c - '0');
    }
    return scan->ok ? number : 0;
}

static int32_t date_take_name(struct scan *scan, const char *names) {
    char word[4] = {date_take(scan), date_take(scan), date_take(scan), '\0'};
    const char *found = scan->ok ? strstr(names, word) : NULL;
    scan->ok = found && (found - names) % 3 == 0;
    return scan->ok ? (int32_t)((found - names) / 3) : 0;
}

static void take_time(struct scan *scan, struct date *date) {
    date->hour = date_take_number(scan, 2);
    date_expect(scan, ":");
    date->minute = date_take_number(scan, 2);
    date_expect(scan, ":");
    date->second = date_take_number(scan, 2);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool read_fixdate(struct text text, struct date *date) {
    struct scan scan = {text, true};
    date_take_name(&scan, days);
    date_expect(&scan, ", ");
    date->day = date_take_number(&scan, 2);
    date_expect(&scan, " ");
    date->month = date_take_name(&scan, months) + 1;
    date_expect(&scan, " ");
    date->year = date_take_number(&scan, 4);
    date_expect(&scan, " ");
    take_time(&scan, date);
    date_expect(&scan, " GMT");
    return scan.ok && scan.rest.size == 0;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT"; a year that seems more than 50 years ahead is past. */
static bool read_rfc850(struct text text, int32_t this_year, struct date *date) {
    const char *comma = memchr(text.bytes, ',', text.size);
    struct scan scan = {text, comma != NULL};
    date_take_name(&scan, days);
    while (scan.ok && scan.rest.bytes < comma) {
        date_take(&scan);
    }
    date_expect(&scan, ", ");
    date->day = date_take_number(&scan, 2);
    date_expect(&scan, "-");
    date->month = date_take_name(&scan, months) + 1;
    date_expect(&scan, "-");
    date->year = date_take_number(&scan, 2) + this_year / 100 * 100;
    date->year -= date->year > this_year + 50 ? 100 : 0;
    date_expect(&scan, " ");
    take_time(&scan, date);
    date_expect(&scan, " GMT");
    return scan.ok && scan.rest.size == 0;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool read_asctime(struct text text, struct date *date) {
    struct scan scan = {text, true};
    date_take_name(&scan, days);
    date_expect(&scan, " ");
    date->month = date_take_name(&scan, months) + 1;
    date_expect(&scan, " ");
    if (scan.ok && scan.rest.size > 0 && scan.rest.bytes[0] == ' ') {
        date_take(&scan);
        date->day = date_take_number(&scan, 1);
    } else {
        date->day = date_take_number(&scan, 2);
    }
    date_expect(&scan, " ");
    take_time(&scan, date);
    date_expect(&scan, " ");
    date->year = date_take_number(&scan, 4);
    return scan.ok && scan.rest.size == 0;
}

bool date_read(struct text text, int64_t now_s, int64_t *unix_s) {
    struct date date = {0};
    if (!text.bytes || text.size < 24 || text.size > 33) {
        return false;
    }
    if (!read_fixdate(text, &date) && !read_rfc850(text, date_of(now_s).year, &date) &&
        !read_asctime(text, &date)) {
        return false;
    }
    int64_t midnight = days_of(date.year, date.month, date.day) * 86400;
    if (date_of(midnight).day != date.day || date.hour > 23 || date.minute > 59 ||
        date.second > 60) {
        return false; /* for example 31 Feb */
    }
    int32_t second = (date.hour * 60 + date.minute) * 60 + date.second;
    *unix_s = midnight + second;
    return true;
}
