/* SPDX-License-Identifier: MIT */

#include "http-head.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define RETRY_AFTER_MAX_S 86400

struct span {
        const char *bytes;
        size_t size;
};

static bool is(struct span span, const char *string)
{
        return span.size == strlen(string) && strncasecmp(span.bytes, string, span.size) == 0;
}

/* A number in digits alone; SIZE_MAX: it is none, or a very large one. */
static size_t parse_number(struct span span)
{
        size_t number = 0;

        if (span.size == 0 || span.size > 15)
                return SIZE_MAX;
        for (size_t i = 0; i < span.size; i++) {
                if (span.bytes[i] < '0' || span.bytes[i] > '9')
                        return SIZE_MAX;
                number = number * 10 + (size_t)(span.bytes[i] - '0');
        }
        return number;
}

/* The type alone, whatever its parameters. */
static bool is_json_type(struct span value)
{
        const char *end = memchr(value.bytes, ';', value.size);

        if (end)
                value.size = (size_t)(end - value.bytes);
        while (value.size > 0 && value.bytes[value.size - 1] == ' ')
                value.size--;
        return is(value, "application/json");
}

/* "HTTP/1.1 200 OK" */
static bool parse_status(struct http_head *head, struct span line)
{
        size_t status;

        if (line.size < 12 || memcmp(line.bytes, "HTTP/1.", 7) != 0 ||
            (line.bytes[7] != '0' && line.bytes[7] != '1') || line.bytes[8] != ' ' ||
            (line.size > 12 && line.bytes[12] != ' '))
                return false;
        status = parse_number((struct span){line.bytes + 9, 3});
        if (status < 200 || status > 599)
                return false;
        head->status = (unsigned int)status;
        head->close = line.bytes[7] == '0';
        return true;
}

/* `has_length` tells whether there was one before, and whether there is one now. */
static bool parse_field(struct http_head *head, struct span line, bool *has_length)
{
        const char *colon = memchr(line.bytes, ':', line.size);
        struct span name = {line.bytes, colon ? (size_t)(colon - line.bytes) : 0}, value;

        if (name.size == 0 || memchr(name.bytes, ' ', name.size) ||
            memchr(name.bytes, '\t', name.size))
                return false;
        value = (struct span){colon + 1, line.size - name.size - 1};
        while (value.size > 0 && (*value.bytes == ' ' || *value.bytes == '\t')) {
                value.bytes++;
                value.size--;
        }
        while (value.size > 0 && strchr(" \t", value.bytes[value.size - 1]))
                value.size--;

        if (is(name, "Transfer-Encoding"))
                return false;
        if (is(name, "Content-Length")) {
                head->content_length = parse_number(value);
                if (*has_length || head->content_length == SIZE_MAX)
                        return false;
                *has_length = true;
        } else if (is(name, "Content-Type")) {
                head->json = is_json_type(value);
        } else if (is(name, "Connection") && !is(value, "keep-alive")) {
                head->close = true;
        } else if (is(name, "Retry-After")) {
                const size_t seconds = parse_number(value);

                if (seconds != SIZE_MAX)
                        head->retry_after_s = seconds < RETRY_AFTER_MAX_S ? (unsigned int)seconds
                                                                          : RETRY_AFTER_MAX_S;
        }
        return true;
}

/* Up to the first character that may not be in one. */
static struct span next_line(const char *bytes, size_t size, size_t at)
{
        struct span line = {bytes + at, 0};

        while (at + line.size < size && !strchr("\r\n", line.bytes[line.size]))
                line.size++;
        return line;
}

/* All of them, each with its end; the first is that of the status. */
static bool parse_lines(struct http_head *head, const char *bytes, size_t size)
{
        bool first = true, has_length = false;
        size_t at = 0;

        while (at < size) {
                const struct span line = next_line(bytes, size, at);

                if (line.size + 2 > size - at || memcmp(line.bytes + line.size, "\r\n", 2) != 0)
                        return false;
                if (first ? !parse_status(head, line) : !parse_field(head, line, &has_length))
                        return false;
                first = false;
                at += line.size + 2;
        }
        if (head->status == 204 || head->status == 304)
                return !has_length || head->content_length == 0;
        return has_length;
}

int http_head_parse(struct http_head *ret, const char *bytes, size_t size)
{
        static const char begin[] = "HTTP/1.";
        const size_t known = size < sizeof(begin) - 1 ? size : sizeof(begin) - 1;
        const size_t looked_at = size < HTTP_HEAD_MAX_BYTES ? size : HTTP_HEAD_MAX_BYTES;
        const char *end;

        *ret = (struct http_head){};
        if (memcmp(bytes, begin, known) != 0)
                return HTTP_HEAD_E_INVALID;
        end = memmem(bytes, looked_at, "\r\n\r\n", 4);
        if (!end)
                return size < HTTP_HEAD_MAX_BYTES ? HTTP_HEAD_E_MORE : HTTP_HEAD_E_INVALID;
        ret->size = (size_t)(end - bytes) + 4;
        return parse_lines(ret, bytes, ret->size - 2) ? 0 : HTTP_HEAD_E_INVALID;
}
