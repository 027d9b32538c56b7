/* SPDX-License-Identifier: MIT */

#include "failure.h"

#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT const char *egain_token_strerror(int error)
{
        switch (error) {
        case EGAIN_TOKEN_OK: return "There is a token.";
        case EGAIN_TOKEN_E_INVALID: return "An argument is not as it must be.";
        case EGAIN_TOKEN_E_NO_MEMORY: return "This process is out of memory or descriptors.";
        case EGAIN_TOKEN_E_PATH_TOO_LONG: return "The path of the daemon's socket is too long.";
        case EGAIN_TOKEN_E_NO_SOCKET: return "The daemon's socket does not exist.";
        case EGAIN_TOKEN_E_NOT_A_SOCKET: return "The daemon's socket is a file of another kind.";
        case EGAIN_TOKEN_E_PERMISSION: return "This process may not connect to the daemon.";
        case EGAIN_TOKEN_E_NOT_RUNNING: return "The daemon is not running.";
        case EGAIN_TOKEN_E_FOREIGN: return "Somebody else listens where the daemon should.";
        case EGAIN_TOKEN_E_UNREACHABLE: return "There is no connection to the daemon.";
        case EGAIN_TOKEN_E_TIMEOUT: return "The daemon did not answer in time.";
        case EGAIN_TOKEN_E_CLOSED: return "The daemon closed the connection without an answer.";
        case EGAIN_TOKEN_E_CUT: return "The daemon's answer was cut short.";
        case EGAIN_TOKEN_E_NOT_BROKER: return "What answers is not the daemon of this version.";
        case EGAIN_TOKEN_E_REQUEST: return "The daemon does not take the request.";
        case EGAIN_TOKEN_E_SCOPE: return "The scope is malformed or refused.";
        case EGAIN_TOKEN_E_CLIENT: return "The client application is unknown, or not for this.";
        case EGAIN_TOKEN_E_SUBJECT: return "The issuer does not know the subject, or refuses it.";
        case EGAIN_TOKEN_E_DENIED:
                return "The daemon's rules do not give this token to this caller.";
        case EGAIN_TOKEN_E_TOO_MANY: return "This caller asks too much.";
        case EGAIN_TOKEN_E_ISSUER: return "The issuer refuses the daemon, or answers nonsense.";
        case EGAIN_TOKEN_E_UNAVAILABLE: return "The issuer or the daemon cannot for now.";
        case EGAIN_TOKEN_E_ISSUER_TIMEOUT: return "The issuer did not answer in time.";
        default: return "There is no such error.";
        }
}

static void clear(struct egain_token_failure *failure, int error)
{
        *failure = (struct egain_token_failure){.size = sizeof(*failure), .error = error};
}

int failure_set(struct egain_token_failure *failure, int error, const char *message)
{
        clear(failure, error);
        (void)snprintf(failure->message, sizeof(failure->message), "%s",
                       message ? message : egain_token_strerror(error));
        return error;
}

int failure_of_fault(struct egain_token_failure *failure, const struct broker_error *error)
{
        static const int errors[] = {
                [BROKER_FAULT_BAD_ADDRESS] = EGAIN_TOKEN_E_INVALID,
                [BROKER_FAULT_PATH_TOO_LONG] = EGAIN_TOKEN_E_PATH_TOO_LONG,
                [BROKER_FAULT_NO_SOCKET] = EGAIN_TOKEN_E_NO_SOCKET,
                [BROKER_FAULT_NOT_A_SOCKET] = EGAIN_TOKEN_E_NOT_A_SOCKET,
                [BROKER_FAULT_PERMISSION] = EGAIN_TOKEN_E_PERMISSION,
                [BROKER_FAULT_REFUSED] = EGAIN_TOKEN_E_NOT_RUNNING,
                [BROKER_FAULT_BUSY] = EGAIN_TOKEN_E_TIMEOUT,
                [BROKER_FAULT_FOREIGN] = EGAIN_TOKEN_E_FOREIGN,
                [BROKER_FAULT_UNREACHABLE] = EGAIN_TOKEN_E_UNREACHABLE,
                [BROKER_FAULT_TIMEOUT] = EGAIN_TOKEN_E_TIMEOUT,
                [BROKER_FAULT_CLOSED] = EGAIN_TOKEN_E_CLOSED,
                [BROKER_FAULT_CUT] = EGAIN_TOKEN_E_CUT,
                [BROKER_FAULT_TOO_LARGE] = EGAIN_TOKEN_E_NOT_BROKER,
                [BROKER_FAULT_NOT_BROKER] = EGAIN_TOKEN_E_NOT_BROKER,
        };

        return failure_set(failure, errors[error->fault], error->text);
}

static int error_of(const struct broker_refusal *refusal)
{
        static const struct {
                const char *code;
                int error;
        } known[] = {
                {"invalid_scope", EGAIN_TOKEN_E_SCOPE},
                {"invalid_grant", EGAIN_TOKEN_E_SUBJECT},
                {"invalid_client", EGAIN_TOKEN_E_CLIENT},
                {"unauthorized_client", EGAIN_TOKEN_E_CLIENT},
                {"access_denied", EGAIN_TOKEN_E_DENIED},
        };

        switch (refusal->status) {
        case 429: return EGAIN_TOKEN_E_TOO_MANY;
        case 502: return EGAIN_TOKEN_E_ISSUER;
        case 504: return EGAIN_TOKEN_E_ISSUER_TIMEOUT;
        default: break;
        }
        if (refusal->status >= 500)
                return EGAIN_TOKEN_E_UNAVAILABLE;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (strcmp(refusal->error, known[i].code) == 0)
                        return known[i].error;
        return EGAIN_TOKEN_E_REQUEST;
}

int failure_of_refusal(struct egain_token_failure *failure, const struct broker_refusal *refusal)
{
        clear(failure, error_of(refusal));
        failure->http_status = refusal->status;
        failure->retry_after_s = refusal->retry_after_s;
        _Static_assert(sizeof(failure->code) >= sizeof(refusal->error), "the code fits");
        _Static_assert(sizeof(failure->message) >= sizeof(refusal->description), "it fits");
        memcpy(failure->code, refusal->error, sizeof(refusal->error));
        memcpy(failure->message, refusal->description, sizeof(refusal->description));
        return failure->error;
}
