#include "http/head.h"

#include <event2/util.h>
#include <string.h>
#include <time.h>

#include "http/status.h"

#define HEAD_SIZE 512 /* of most answers: grown to at once */
#define DATE_SIZE sizeof "Thu, 01 Jan 1970 00:00:00 GMT"

static const char *date_now(void)
{
    static _Thread_local time_t written; /* 0: not yet */
    static _Thread_local char date[DATE_SIZE];
    time_t second = time(NULL);
    struct tm utc;
    if (second != written) {
        evutil_date_rfc1123(date, sizeof date, gmtime_r(&second, &utc));
        written = second;
    }
    return date;
}

void head_begin(struct buffer *head, int minor, int status)
{
    char code[] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10),
                   (char)('0' + status % 10), ' '};
    buffer_reserve(head, HEAD_SIZE);
    buffer_append_string(head, minor == 0 ? "HTTP/1.0 " : "HTTP/1.1 ");
    buffer_append(head, code, sizeof code);
    buffer_append_string(head, status_phrase(status));
    buffer_append_string(head, "\r\n");
    head_add(head, "Date", date_now());
}

void head_add(struct buffer *head, const char *name, const char *value)
{
    size_t name_size = strlen(name), value_size = strlen(value);
    char *end = buffer_reserve(head, name_size + value_size + 4);
    memcpy(end, name, name_size);
    memcpy(end + name_size, ": ", 2);
    memcpy(end + name_size + 2, value, value_size);
    memcpy(end + name_size + 2 + value_size, "\r\n", 3);
    head->size += name_size + value_size + 4;
}

void head_add_number(struct buffer *head, const char *name, size_t number)
{
    char digits[24];
    char *first = digits + sizeof digits - 1;
    *first = '\0';
    do {
        *--first = (char)('0' + number % 10);
    } while ((number /= 10) > 0);
    head_add(head, name, first);
}

bool head_has(const struct buffer *head, const char *name)
{
    size_t size = strlen(name);
    const char *line = head->size > 0 ? head->data : NULL;
    while (line && *line) {
        if (strncmp(line, name, size) == 0 && line[size] == ':')
            return true;
        const char *end = strchr(line, '\n');
        line = end ? end + 1 : NULL;
    }
    return false;
}

void head_end(struct buffer *head)
{
    buffer_append_string(head, "\r\n");
}
