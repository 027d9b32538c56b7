/* SPDX-License-Identifier: MIT */

/* The request goes over the Unix socket, where the kernel tells the daemon that root or its own
 * user asks; never through a proxy. */

#include "reload-client.h"

#include <curl/curl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/un.h>

#include "../lib/error.h"
#include "../lib/secret.h"

#define TIMEOUT_MS       60000L
#define ANSWER_MAX_BYTES ((size_t)1024 * 1024)

static size_t take(char *bytes, size_t size, size_t n, void *data)
{
        return secret_append(data, bytes, size * n) == 0 ? size * n : 0;
}

/* The first Unix socket that HTTP is spoken on; NULL: there is none. */
static const char *socket_of(const struct config *config)
{
        for (size_t i = 0; i < config->n_listeners; i++) {
                const struct listener_config *listener = &config->listeners[i];

                if (listener->address.ss_family == AF_UNIX && !listener->credentials)
                        return ((const struct sockaddr_un *)&listener->address)->sun_path;
        }
        return NULL;
}

static CURLcode post(CURL *curl, const char *path, struct secret *answer, long *ret_status)
{
        CURLcode code;

        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path);
        curl_easy_setopt(curl, CURLOPT_URL, "http://localhost/v1/reload");
        curl_easy_setopt(curl, CURLOPT_PROXY, "");
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
        code = curl_easy_perform(curl);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
        return code;
}

/* Says what the daemon says: its messages, or the sentence of a refusal. */
static void print_answer(const struct secret *answer, long status, FILE *errors)
{
        json_object *object = answer->bytes ? json_tokener_parse(answer->bytes) : NULL;
        json_object *messages, *description;

        if (json_object_object_get_ex(object, "messages", &messages) &&
            json_object_is_type(messages, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(messages); i++)
                        fprintf(errors, "%s\n",
                                json_object_get_string(json_object_array_get_idx(messages, i)));
        } else if (json_object_object_get_ex(object, "error_description", &description)) {
                fprintf(errors, "egain-tokend: %s\n", json_object_get_string(description));
        } else {
                fprintf(errors,
                        "egain-tokend: what listens there answers with status %ld, and "
                        "not as this version does\n",
                        status);
        }
        json_object_put(object);
}

int reload_client(const struct config *config, FILE *errors)
{
        struct secret answer = SECRET_INIT(ANSWER_MAX_BYTES);
        const char *path = socket_of(config);
        CURL *curl = curl_easy_init();
        CURLcode code;
        long status = 0;
        int r;

        if (!path || !curl) {
                fprintf(errors, "egain-tokend: --reload needs a Unix socket in 'listen'\n");
                curl_easy_cleanup(curl);
                return RELOAD_CLIENT_E_UNREACHABLE;
        }
        code = post(curl, path, &answer, &status);
        if (code != CURLE_OK) {
                fprintf(errors, "egain-tokend: the daemon cannot be asked on %s: %s\n", path,
                        curl_easy_strerror(code));
                r = RELOAD_CLIENT_E_UNREACHABLE;
        } else {
                print_answer(&answer, status, errors);
                r = status == 200 ? 0 : RELOAD_CLIENT_E_REFUSED;
        }
        secret_deinit(&answer);
        curl_easy_cleanup(curl);
        return r;
}
