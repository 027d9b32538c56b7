/* SPDX-License-Identifier: MIT */

/*
 * Bodies that are sent in one go are handed to libmicrohttpd as a buffer. The others (cut,
 * trickled, or made of nothing but 'x') come out of a stream, which the response owns; the stream
 * borrows its request, which libmicrohttpd keeps until the last byte is asked for.
 *
 * A trickling stream pauses its request inside the reader: libmicrohttpd allows that, provided that
 * the reader returns no bytes then.
 */

#include "reply.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>

#include "request.h"

#define STREAM_BLOCK_BYTES 16384

struct stream {
        struct request *request; /* borrowed */
        char *body;              /* owned; NULL: all 'x' */
        uint64_t end;            /* where the connection is cut; UINT64_MAX: nowhere */
        uint64_t trickle_ms;     /* 0: as fast as it goes */
        uint64_t due_ms;         /* of the next byte */
};

static void stream_free(void *userdata)
{
        struct stream *stream = userdata;

        free(stream->body);
        free(stream);
}

/* The number of bytes that may go out now; 0: none for the time being; negative: the end. */
static ssize_t stream_allow(struct stream *stream)
{
        struct request *request = stream->request;
        uint64_t now_ms;

        if (!stream->trickle_ms)
                return STREAM_BLOCK_BYTES;
        if (request->pause.client_gone)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        now_ms = pause_now_ms();
        if (now_ms >= stream->due_ms) {
                stream->due_ms = now_ms + stream->trickle_ms;
                return 1;
        }
        if (!pause_begin(&request->pause, &request->server->pauses, request->connection,
                         stream->due_ms))
                return MHD_CONTENT_READER_END_WITH_ERROR;
        return 0;
}

static ssize_t stream_read(void *userdata, uint64_t position, char *buffer, size_t size)
{
        struct stream *stream = userdata;
        ssize_t allowed;

        if (position >= stream->end)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        allowed = stream_allow(stream);
        if (allowed <= 0)
                return allowed;

        if (size > (size_t)allowed)
                size = (size_t)allowed;
        if (size > stream->end - position)
                size = (size_t)(stream->end - position);
        if (stream->body)
                memcpy(buffer, stream->body + position, size);
        else
                memset(buffer, 'x', size);
        return (ssize_t)size;
}

static struct MHD_Response *make_stream(struct reply *reply, struct request *request)
{
        struct stream *stream = calloc(1, sizeof(*stream));
        struct MHD_Response *response;
        size_t body_bytes;
        uint64_t size;

        if (!stream)
                return NULL;
        stream->request = request;
        stream->body = text_take(&reply->body, &body_bytes);
        size = stream->body ? body_bytes : reply->fill_bytes;
        /* Without a body there is nothing to cut off, so a byte is promised that never comes. */
        if (reply->delivery == REPLY_CUT && size == 0)
                size = 1;
        stream->end = reply->delivery == REPLY_CUT ? size / 2 : UINT64_MAX;
        stream->trickle_ms = reply->delivery == REPLY_TRICKLE ? reply->trickle_ms : 0;

        response = MHD_create_response_from_callback(size, STREAM_BLOCK_BYTES, stream_read, stream,
                                                     stream_free);
        if (!response)
                stream_free(stream);
        return response;
}

static struct MHD_Response *make_response(struct reply *reply, struct request *request)
{
        struct MHD_Response *response;
        size_t size;
        char *body;

        if (reply->fill_bytes || reply->delivery == REPLY_CUT ||
            (reply->delivery == REPLY_TRICKLE && reply->body.bytes.size))
                return make_stream(reply, request);
        body = text_take(&reply->body, &size);
        if (!body)
                return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        response = MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
        if (!response)
                free(body);
        return response;
}

/* Adds a header of ours unless the reply has one of the name. */
static bool add_header(struct MHD_Response *response, const char *name, const char *value)
{
        if (!value || MHD_get_response_header(response, name))
                return true;
        return MHD_add_response_header(response, name, value) == MHD_YES;
}

/* Where our clock is the host's, libmicrohttpd adds the date. */
static bool add_date(struct MHD_Response *response, const struct server *server)
{
        const time_t now_s = (time_t)server_wall_s(server);
        struct tm tm;
        char text[64];

        if (!server->clock_offset_s)
                return true;
        if (!gmtime_r(&now_s, &tm) ||
            strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
                return false;
        return add_header(response, "Date", text);
}

static bool add_headers(struct MHD_Response *response, const struct reply *reply,
                        const struct server *server)
{
        if (reply->headers) {
                struct json_object_iterator it = json_object_iter_begin(reply->headers);
                struct json_object_iterator end = json_object_iter_end(reply->headers);

                for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
                        const char *name = json_object_iter_peek_name(&it);
                        struct json_object *value = json_object_iter_peek_value(&it);

                        if (!MHD_add_response_header(response, name, json_object_get_string(value)))
                                return false;
                }
        }
        return add_date(response, server) && add_header(response, "Cache-Control", "no-store") &&
               add_header(response, "Content-Type", reply->content_type) &&
               add_header(response, "Allow", reply->allow);
}

enum MHD_Result reply_send(struct reply *reply, struct request *request)
{
        struct MHD_Response *response = NULL;
        enum MHD_Result result = MHD_NO;

        if (!reply->body.error)
                response = make_response(reply, request);
        text_deinit(&reply->body);
        if (!response)
                return MHD_NO;
        if (add_headers(response, reply, request->server))
                result = MHD_queue_response(request->connection, reply->status, response);
        MHD_destroy_response(response);
        request->state = REQUEST_ANSWERED;
        return result;
}

void reply_error(struct reply *reply, unsigned status, const char *error, const char *description)
{
        reply->status = status;
        reply->content_type = "application/json";
        text_append_str(&reply->body, "{\"error\":");
        text_append_json(&reply->body, error);
        if (description) {
                text_append_str(&reply->body, ",\"error_description\":");
                text_append_json(&reply->body, description);
        }
        text_append_str(&reply->body, "}");
}
