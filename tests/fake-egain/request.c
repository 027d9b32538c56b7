/* SPDX-License-Identifier: MIT */

/*
 * A request is made when its first line has come and freed when libmicrohttpd says that it is over,
 * for whatever reason. While it waits it is in one list of the server, and `wait` says for what;
 * request_wait() and request_wake() keep list, pause and the counter of held requests together.
 */

#include "request.h"

#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "error.h"

#define CONTROL_BODY_MAX (16 << 20)

static const char control_prefix[] = "/_control/";

struct request *request_new(struct server *server, const char *uri)
{
        struct request *request = calloc(1, sizeof(*request));
        char *question;

        if (!request)
                return NULL;
        request->server = server;
        list_init(&request->waiting);
        request->path = strdup(uri);
        if (!request->path) {
                request_free(request);
                return NULL;
        }
        question = strchr(request->path, '?');
        if (question) {
                *question = '\0';
                request->query = question + 1;
        }
        request->control = strncmp(request->path, control_prefix, sizeof(control_prefix) - 1) == 0;
        secret_init(&request->body, request->control ? CONTROL_BODY_MAX : GRANT_BODY_MAX);
        return request;
}

void request_free(struct request *request)
{
        if (!request)
                return;
        request_wake(request);
        rule_unref(request->rule);
        grant_deinit(&request->grant);
        json_object_put(request->outcome);
        secret_deinit(&request->body);
        free(request->path);
        free(request);
}

void request_start(struct request *request, struct MHD_Connection *connection, const char *method,
                   const char *version)
{
        request->connection = connection;
        request->method = method;
        request->version = version;
        request->state = REQUEST_RECEIVING;
}

int request_receive(struct request *request, const void *bytes, size_t size)
{
        int r;

        if (request->body_too_long)
                return 0;
        r = secret_append(&request->body, bytes, size);
        if (r == SECRET_E_FULL) {
                request->body_too_long = true;
                secret_clear(&request->body);
                return 0;
        }
        return error_trace(r);
}

const char *request_header(const struct request *request, const char *name)
{
        return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

bool request_wait(struct request *request, enum request_wait wait, uint64_t due_ms)
{
        struct server *server = request->server;

        if (!pause_begin(&request->pause, &server->pauses, request->connection, due_ms))
                return false;
        request->state = REQUEST_WAITING;
        request->wait = wait;
        if (wait == REQUEST_WAIT_COUNTER)
                list_push_back(&server->watchers, &request->waiting);
        else
                list_push_back(&server->waiting, &request->waiting);
        if (wait == REQUEST_WAIT_HELD)
                server->stats.held++;
        return true;
}

void request_wake(struct request *request)
{
        if (request->wait == REQUEST_WAIT_HELD)
                request->server->stats.held--;
        request->wait = REQUEST_WAIT_NONE;
        list_unlink(&request->waiting);
        pause_end(&request->pause);
}
