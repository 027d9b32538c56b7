/* SPDX-License-Identifier: MIT */

/*
 * Most sentences are put together from what the caller sent. What error_description may not hold is
 * shown as a question mark, and what is long is cut, so that a header field cannot make an answer
 * say something else.
 */

#include "describe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api-private.h"

#define SHOWN_MAX_BYTES 64

/* A text as it may be shown. */
struct shown {
        char bytes[SHOWN_MAX_BYTES + sizeof("...")];
};

static struct shown show(struct text text)
{
        const size_t size = text.size > SHOWN_MAX_BYTES ? SHOWN_MAX_BYTES : text.size;
        struct shown shown;

        for (size_t i = 0; i < size; i++) {
                const char c = text.bytes[i];

                shown.bytes[i] = c;
                if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
                        shown.bytes[i] = '?';
        }
        (void)snprintf(shown.bytes + size, sizeof(shown.bytes) - size, "%s",
                       text.size > size ? "..." : "");
        return shown;
}

static struct shown show_string(const char *string)
{
        return show(TEXT(string));
}

__attribute__((format(printf, 2, 3))) static const char *say(char out[DESCRIBE_MAX_BYTES],
                                                             const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        (void)vsnprintf(out, DESCRIBE_MAX_BYTES, format, arguments);
        va_end(arguments);
        return out;
}

static const char *describe_header(char out[DESCRIBE_MAX_BYTES], const struct api_header *header,
                                   const char *consequence)
{
        return say(out, "There is a header %s: %s, %s", header->name,
                   show_string(header->value).bytes, consequence);
}

/* The same in terms of header fields, where they are what is read. */
static const char *describe_fields(char out[DESCRIBE_MAX_BYTES], const struct api_call *call,
                                   enum reason reason)
{
        const struct request_fields *fields = &call->headers.fields;

        switch (reason) {
        case REASON_UNKNOWN_FIELD:
                return say(out,
                           "The header %s only begins like X-Egain-Subject-Username, "
                           "X-Egain-Subject-Userid, X-Egain-Subject-Email, X-Egain-Scope, "
                           "X-Egain-Client or X-Egain-Min-Ttl; it must be one of them, and on one "
                           "line.",
                           show_string(fields->unknown).bytes);
        case REASON_REPEATED_PARAMETER:
                return say(out, "The header %s occurs twice; send it once.",
                           show_string(fields->repeated).bytes);
        case REASON_MISSING_SUBJECT:
        case REASON_AMBIGUOUS_SUBJECT:
                return say(out,
                           "There is %s subject; send exactly one of the headers "
                           "X-Egain-Subject-Username, X-Egain-Subject-Userid and "
                           "X-Egain-Subject-Email.",
                           reason == REASON_MISSING_SUBJECT ? "no" : "more than one");
        case REASON_MISSING_CLIENT:
                return say(out, "There is no header X-Egain-Client, and more than one client "
                                "application is configured.");
        case REASON_BAD_MIN_TTL:
                return say(out, "X-Egain-Min-Ttl is not a number of seconds, written in 1 to 9 "
                                "digits.");
        case REASON_BAD_KEY:
                return say(out, "The rule for this caller has a key_file, and this path takes no "
                                "key.");
        default: return NULL;
        }
}

const char *describe_refusal(char out[DESCRIBE_MAX_BYTES], const struct api_call *call,
                             enum reason reason)
{
        const struct api_headers *headers = &call->headers;

        switch (reason) {
        case REASON_FROM_BROWSER:
                return describe_header(out, &headers->of_browser,
                                       "as browsers send it; browsers are not served.");
        case REASON_FORWARDED:
                return describe_header(out, &headers->of_forwarder,
                                       "as proxies send it; call the daemon directly.");
        case REASON_BAD_HOST:
                if (headers->host_repeated || !headers->host)
                        return say(out, "There must be one header Host, and there are %s.",
                                   headers->host ? "several" : "none");
                return say(out,
                           "The header Host is %s; over TCP it must be localhost, 127.0.0.1 or "
                           "[::1], perhaps with a port.",
                           show_string(headers->host).bytes);
        case REASON_NO_METADATA_HEADER:
                if (!headers->metadata)
                        return NULL;
                return say(out, "The header Metadata is %s; it must be true.",
                           show_string(headers->metadata).bytes);
        case REASON_NOT_FOUND:
                return say(out, "There is nothing at %s.", show_string(call->path).bytes);
        default:
                return call->route && call->route->fields ? describe_fields(out, call, reason)
                                                          : NULL;
        }
}

/* Who the kernel says is asking. */
static void name_peer(char *out, size_t size, const struct peer *peer)
{
        if (peer->unit)
                (void)snprintf(out, size, "uid %u in unit %s", (unsigned int)peer->uid,
                               show_string(peer->unit).bytes);
        else
                (void)snprintf(out, size, "uid %u", (unsigned int)peer->uid);
}

static const char *describe_no_rule(char out[DESCRIBE_MAX_BYTES], const struct api_call *call)
{
        char who[160];

        name_peer(who, sizeof(who), call->peer);
        return say(out,
                   "No rule of the daemon's configuration is for this caller, %s%s. An entry of "
                   "callers whose user is %u would be; egain-tokend --explain user=%u shows what "
                   "is missing.",
                   who,
                   call->peer->tcp ? " over TCP, where a rule with a group or a unit is for nobody"
                                   : "",
                   (unsigned int)call->peer->uid, (unsigned int)call->peer->uid);
}

static struct text first_missing(const struct rule *rule, struct text scope)
{
        struct text value;
        size_t at = 0;

        while ((value = scope_next(scope, &at)).size > 0)
                if (!policy_gives_scope(rule, value))
                        return value;
        return scope;
}

static const char *describe_subject(char out[DESCRIBE_MAX_BYTES],
                                    const struct token_request *request, const struct reply *reply)
{
        const char *const kind = subject_kind_name(reply->subject_kind);

        if (!subject_kind_names(reply->subject_kind))
                return say(out,
                           "The rule %s does not give this caller tokens of the kind %s; its "
                           "'subjects' would have to name %s:*.",
                           reply->rule->name, kind, kind);
        return say(out,
                   "The rule %s does not give this caller the subject %s:%s; its 'subjects' would "
                   "need a pattern for it.",
                   reply->rule->name, kind, show(request->subject).bytes);
}

const char *describe_reply(char out[DESCRIBE_MAX_BYTES], const struct api_call *call,
                           const struct reply *reply)
{
        const struct token_request *request = &call->request;
        const struct rule *rule = reply->rule;

        if (reply->reason == REASON_NOT_PERMITTED)
                return describe_no_rule(out, call);
        if (!rule)
                return describe_refusal(out, call, reply->reason);
        switch (reply->reason) {
        case REASON_CLIENT_NOT_PERMITTED:
                return say(out,
                           "The rule %s does not give this caller the client application %s; its "
                           "'clients' would have to name it.",
                           rule->name, reply->client->name);
        case REASON_SUBJECT_NOT_PERMITTED: return describe_subject(out, request, reply);
        case REASON_SCOPE_NOT_PERMITTED:
                return say(out,
                           "The rule %s does not give this caller the scope %s; its 'scopes' would "
                           "need a pattern for it.",
                           rule->name, show(first_missing(rule, reply->asked_scope)).bytes);
        case REASON_FETCHES_SPENT:
                return say(out,
                           "The rule %s has used up its fetches, %" PRIu64 " in %" PRIu64
                           " s; what is in memory is still served.",
                           rule->name, rule->fetches.count, rule->fetches.period_ms / 1000);
        default: return describe_refusal(out, call, reply->reason);
        }
}
