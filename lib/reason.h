/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Why a request ended as it did. Every refusal and failure the daemon can answer is one row here:
 * the code that logs and tests name, and what the caller sees of it (HTTP status, error code of
 * RFC 6749 §5.2, a sentence that says what to do). 0 is success; functions that can refuse return a
 * reason as their positive outcome.
 *
 * Columns: name, code, HTTP status, error, Retry-After in seconds (0: none), description.
 */

#define REASON_TABLE(X)                                                                            \
        /* the caller's request is off */                                                          \
        X(MALFORMED_ESCAPE, "malformed_escape", 400, "invalid_request", 0,                         \
          "A percent sign in the request is not followed by two hexadecimal digits.")              \
        X(REPEATED_PARAMETER, "repeated_parameter", 400, "invalid_request", 0,                     \
          "A parameter occurs twice; send each one once.")                                         \
        X(MISSING_GRANT_TYPE, "missing_grant_type", 400, "invalid_request", 0,                     \
          "There is no grant_type; send grant_type=password, or another that is served.")          \
        X(UNSUPPORTED_GRANT_TYPE, "unsupported_grant_type", 400, "unsupported_grant_type", 0,      \
          "This grant_type is not served here; password, client_credentials and token exchange "   \
          "are.")                                                                                  \
        X(MISSING_SUBJECT, "missing_subject", 400, "invalid_request", 0,                           \
          "There is no subject; send one of subject_username, subject_userid and subject_email.")  \
        X(AMBIGUOUS_SUBJECT, "ambiguous_subject", 400, "invalid_request", 0,                       \
          "There is more than one subject; send exactly one.")                                     \
        X(UNWANTED_SUBJECT, "unwanted_subject", 400, "invalid_request", 0,                         \
          "grant_type=client_credentials is for the client application itself; leave out "         \
          "whatever "                                                                              \
          "begins with subject_, or send grant_type=password.")                                    \
        X(EXCHANGE_IN_QUERY, "exchange_in_query", 400, "invalid_request", 0,                       \
          "Tokens are exchanged by POST /oauth2/token only, with the subject token in the body.")  \
        X(SUBJECT_TOKEN_IN_QUERY, "subject_token_in_query", 400, "invalid_request", 0,             \
          "There is a token in the query, where logs may keep it; send it in the body.")           \
        X(EXCHANGE_PARAMETER, "exchange_parameter", 400, "invalid_request", 0,                     \
          "actor_token, actor_token_type, resource and audience are not served; leave them out.")  \
        X(BAD_REQUESTED_TOKEN_TYPE, "bad_requested_token_type", 400, "invalid_request", 0,         \
          "requested_token_type can only be urn:ietf:params:oauth:token-type:access_token.")       \
        X(MISSING_REGISTRATION_ID, "missing_registration_id", 400, "invalid_request", 0,           \
          "There is no registration_id; it says which identity provider the subject token is of.") \
        X(BAD_REGISTRATION_ID, "bad_registration_id", 400, "invalid_request", 0,                   \
          "registration_id is not 1 to 128 bytes of UTF-8 without control characters.")            \
        X(MISSING_SUBJECT_TOKEN, "missing_subject_token", 400, "invalid_request", 0,               \
          "There is no subject_token; send the token of the identity provider.")                   \
        X(LONG_SUBJECT_TOKEN, "long_subject_token", 400, "invalid_request", 0,                     \
          "The subject_token is over 16 KiB.")                                                     \
        X(MISSING_SUBJECT_TOKEN_TYPE, "missing_subject_token_type", 400, "invalid_request", 0,     \
          "There is no subject_token_type; send urn:ietf:params:oauth:token-type:access_token.")   \
        X(BAD_SUBJECT_TOKEN_TYPE, "bad_subject_token_type", 400, "invalid_request", 0,             \
          "subject_token_type is not urn:ietf:params:oauth:token-type:access_token, nor that "     \
          "with jwt "                                                                              \
          "or id_token.")                                                                          \
        X(SUBJECT_TOKEN_NOT_JWT, "subject_token_not_jwt", 400, "invalid_request", 0,               \
          "The subject_token is not a JWT whose claims can be read.")                              \
        X(SUBJECT_TOKEN_NO_EXP, "subject_token_no_exp", 400, "invalid_request", 0,                 \
          "The subject_token is a JWT without exp, so that nothing says when it ends.")            \
        X(SUBJECT_TOKEN_BAD_EXP, "subject_token_bad_exp", 400, "invalid_request", 0,               \
          "The subject_token is a JWT whose exp is no number.")                                    \
        X(SUBJECT_TOKEN_EXPIRED, "subject_token_expired", 400, "invalid_request", 0,               \
          "The subject_token has ended; get a new one of the identity provider.")                  \
        X(EMPTY_SUBJECT, "empty_subject", 400, "invalid_request", 0,                               \
          "The subject is empty; it must be 1 to 256 bytes long.")                                 \
        X(LONG_SUBJECT, "long_subject", 400, "invalid_request", 0,                                 \
          "The subject is too long; it must be 1 to 256 bytes long.")                              \
        X(BAD_SUBJECT, "bad_subject", 400, "invalid_request", 0,                                   \
          "The subject is not valid UTF-8, or holds a control character.")                         \
        X(BAD_SCOPE, "bad_scope", 400, "invalid_scope", 0,                                         \
          "The scope is not a list of scope tokens with single spaces between them, or too long.") \
        X(MISSING_SCOPE, "missing_scope", 400, "invalid_scope", 0,                                 \
          "There is no scope, and this client application has no default_scope.")                  \
        X(BAD_MIN_TTL, "bad_min_ttl", 400, "invalid_request", 0,                                   \
          "min_ttl is not a number of seconds, written in 1 to 9 digits.")                         \
        X(BAD_REJECTED_TOKEN, "bad_rejected_token", 400, "invalid_request", 0,                     \
          "rejected_token_sha256 is not a SHA-256 in 64 hexadecimal digits.")                      \
        X(BAD_LIMIT, "bad_limit", 400, "invalid_request", 0,                                       \
          "limit is not a number of entries, written in 1 to 6 digits.")                           \
        X(BAD_AFTER, "bad_after", 400, "invalid_request", 0,                                       \
          "after is not what the page before gave as next.")                                       \
        X(MISSING_FILTER, "missing_filter", 400, "invalid_request", 0,                             \
          "Nothing says which tokens to purge; send client_id, a subject, scope, or several.")     \
        X(UNKNOWN_FIELD, "unknown_field", 400, "invalid_request", 0,                               \
          "A header only begins like one of those that say what is asked for; see the manual.")    \
        X(ODD_HEAD, "odd_head", 400, "invalid_request", 0,                                         \
          "A header holds a NUL, is folded, does not end with CRLF, or has several blanks before " \
          "its value, so that it is not certain what it says.")                                    \
        X(UNCLEAR_END, "unclear_end", 400, "invalid_request", 0,                                   \
          "It is not certain where the request ends: there are several Content-Length or "         \
          "Transfer-Encoding, both of them, one in HTTP/1.0, or a blank before a colon.")          \
        X(SPACED_SUBJECT, "spaced_subject", 400, "invalid_request", 0,                             \
          "The subject in the header begins or ends with a space or tab, which may get lost in a " \
          "header; such a subject can only be asked for in a form.")                               \
        X(UNREAD_QUERY, "unread_query", 400, "invalid_request", 0,                                 \
          "This path reads no query; say what is asked for in headers.")                           \
        X(BAD_AUTHORIZATION, "bad_authorization", 400, "invalid_request", 0,                       \
          "The Authorization header is not well-formed HTTP Basic; leave it out.")                 \
        X(AMBIGUOUS_CLIENT, "ambiguous_client", 400, "invalid_request", 0,                         \
          "HTTP Basic and client_id name different client applications; send one of the two.")     \
        X(MISSING_CLIENT, "missing_client", 400, "invalid_request", 0,                             \
          "There is no client_id, and more than one client application is configured.")            \
        X(UNKNOWN_CLIENT, "unknown_client", 401, "invalid_client", 0,                              \
          "No client application of this name or client_id is configured.")                        \
        X(NO_TOKEN_URL, "no_token_url", 400, "unauthorized_client", 0,                             \
          "This client application has no token URL for this; customers need "                     \
          "customer_token_url, all else needs user_token_url.")                                    \
        X(ANONYMOUS_CLIENT, "anonymous_client", 400, "unauthorized_client", 0,                     \
          "This client application is for anonymous customers; it takes "                          \
          "grant_type=client_credentials alone.")                                                  \
        X(BAD_CONTENT_TYPE, "bad_content_type", 400, "invalid_request", 0,                         \
          "The body must be of type application/x-www-form-urlencoded.")                           \
        X(BODY_TOO_LARGE, "body_too_large", 413, "invalid_request", 0, "The body is over 32 KiB.") \
        X(NOT_FOUND, "not_found", 404, "invalid_request", 0, "There is nothing at this path.")     \
        X(BAD_METHOD, "bad_method", 405, "invalid_request", 0,                                     \
          "This path does not take this method; the header Allow names those it takes.")           \
        X(CONFIG_NOT_TAKEN_OVER, "config_not_taken_over", 409, "", 0,                              \
          "The configuration that was read again is not taken over; its messages say why.")        \
        /* the caller is not entitled, or may not be the caller at all */                          \
        X(NOT_PERMITTED, "not_permitted", 403, "access_denied", 0,                                 \
          "No rule of the daemon's configuration is for this caller.")                             \
        X(BAD_KEY, "bad_key", 401, "invalid_client", 0,                                            \
          "The rule for this caller has a key_file; send its content as client_secret "            \
          "(egain-token: --key-file).")                                                            \
        X(CLIENT_NOT_PERMITTED, "client_not_permitted", 403, "access_denied", 0,                   \
          "The rule for this caller does not give it this client application.")                    \
        X(SUBJECT_NOT_PERMITTED, "subject_not_permitted", 403, "access_denied", 0,                 \
          "The rule for this caller does not give it this subject.")                               \
        X(SCOPE_NOT_PERMITTED, "scope_not_permitted", 403, "access_denied", 0,                     \
          "The rule for this caller does not give it all of this scope.")                          \
        X(MONITOR_NOT_PERMITTED, "monitor_not_permitted", 403, "access_denied", 0,                 \
          "The rule for this caller does not say monitor = true.")                                 \
        X(ADMIN_NOT_PERMITTED, "admin_not_permitted", 403, "access_denied", 0,                     \
          "The rule for this caller does not say admin = true, or this is not the Unix socket.")   \
        X(PEER_GONE, "peer_gone", 403, "access_denied", 0,                                         \
          "The process at the other end of this connection cannot be identified.")                 \
        X(FROM_BROWSER, "from_browser", 403, "access_denied", 0,                                   \
          "The header Origin or Sec-Fetch-Site says that a browser sent this; browsers are not "   \
          "served.")                                                                               \
        X(FORWARDED, "forwarded", 403, "access_denied", 0,                                         \
          "The header X-Forwarded-For, Forwarded or Via says that a proxy sent this; call the "    \
          "daemon directly.")                                                                      \
        X(BAD_HOST, "bad_host", 403, "access_denied", 0,                                           \
          "The header Host must name localhost, 127.0.0.1 or [::1].")                              \
        X(NO_METADATA_HEADER, "no_metadata_header", 403, "access_denied", 0,                       \
          "The header 'Metadata: true' is missing.")                                               \
        X(NOT_SYSTEMD, "not_systemd", 403, "access_denied", 0,                                     \
          "Credentials are for systemd, which connects as root from an address that names a unit " \
          "and a credential.")                                                                     \
        X(OTHER_UNIT, "other_unit", 403, "access_denied", 0,                                       \
          "The process that connected is not in the unit that its address names.")                 \
        X(NO_CREDENTIAL, "no_credential", 403, "access_denied", 0,                                 \
          "No entry of credentials is for this unit and this name.")                               \
        /* the issuer refuses this subject or scope */                                             \
        X(SUBJECT_REFUSED, "subject_refused", 400, "invalid_grant", 0,                             \
          "The issuer does not know the subject, or refuses it or the request.")                   \
        X(SCOPE_REFUSED, "scope_refused", 400, "invalid_scope", 0,                                 \
          "The issuer refuses the scope for this client application.")                             \
        /* the issuer, or what we told it, is at fault */                                          \
        X(CREDENTIALS_REFUSED, "credentials_refused", 502, "server_error", 0,                      \
          "The issuer refuses the client credentials that the daemon is configured with.")         \
        X(CLIENT_UNAUTHORIZED, "client_unauthorized", 502, "server_error", 0,                      \
          "The issuer does not let this client application ask for such tokens.")                  \
        X(ANSWER_UNUSABLE, "answer_unusable", 502, "server_error", 0,                              \
          "The issuer's answer holds no usable token.")                                            \
        X(ANSWER_REDIRECT, "answer_redirect", 502, "server_error", 0,                              \
          "The issuer answered with a redirect, which is not followed; check the token URL.")      \
        X(ANSWER_TOO_LARGE, "answer_too_large", 502, "server_error", 0,                            \
          "The issuer's answer is too large.")                                                     \
        X(LONG_TOKEN, "long_token", 502, "server_error", 0,                                        \
          "The token does not fit into a header, 8 KiB at most, less beside a long request; ask "  \
          "for it with POST /oauth2/token.")                                                       \
        X(ISSUER_CERTIFICATE, "issuer_certificate", 502, "server_error", 0,                        \
          "The issuer's TLS certificate is not accepted.")                                         \
        X(GRANTED_TOO_MUCH, "granted_too_much", 502, "server_error", 0,                            \
          "The issuer granted more scope than was asked for, and more than this caller may have.") \
        X(ISSUER_THROTTLES, "issuer_throttles", 503, "temporarily_unavailable", 5,                 \
          "The issuer asks for fewer requests; try again later.")                                  \
        X(ISSUER_ERROR, "issuer_error", 503, "temporarily_unavailable", 1,                         \
          "The issuer answered with an error of its own; try again later.")                        \
        X(ISSUER_UNREACHABLE, "issuer_unreachable", 503, "temporarily_unavailable", 1,             \
          "There is no connection to the issuer; try again later.")                                \
        X(ISSUER_CUT, "issuer_cut", 503, "temporarily_unavailable", 1,                             \
          "The connection to the issuer broke before its answer was whole; try again later.")      \
        X(ISSUER_TIMEOUT, "issuer_timeout", 503, "temporarily_unavailable", 1,                     \
          "The issuer did not answer in time; try again later.")                                   \
        X(BREAKER_OPEN, "breaker_open", 503, "temporarily_unavailable", 1,                         \
          "The issuer has been failing and is left alone for a moment; try again later.")          \
        X(REJECTED_AGAIN, "rejected_again", 503, "temporarily_unavailable", 1,                     \
          "The token was rejected, and a new one was fetched a moment ago; try again later.")      \
        X(REPEATED_TOKEN, "issuer_repeats_token", 200, "", 0,                                      \
          "The issuer answered with the token that was rejected.")                                 \
        /* the daemon itself */                                                                    \
        X(FETCHES_SPENT, "fetches_spent", 429, "temporarily_unavailable", 1,                       \
          "The rule for this caller has used up its fetches; what is in memory is still served.")  \
        X(UID_WAITERS_FULL, "uid_waiters_full", 429, "temporarily_unavailable", 1,                 \
          "This uid has a quarter of all requests waiting for the issuer; try again later.")       \
        X(UID_FLIGHTS_FULL, "uid_flights_full", 429, "temporarily_unavailable", 1,                 \
          "This uid has a quarter of all tokens being fetched; try again later.")                  \
        X(UID_CONNECTIONS_FULL, "uid_connections_full", 429, "temporarily_unavailable", 1,         \
          "This uid has a quarter of all connections; close some, or try again later.")            \
        X(AUDIT_FULL, "audit_full", 503, "temporarily_unavailable", 1,                             \
          "No token goes out that cannot be recorded, and the queue of records is full.")          \
        X(CLIENT_CHANGED, "client_changed", 503, "temporarily_unavailable", 1,                     \
          "The client application was configured anew while the request waited; try again.")       \
        X(PURGES_FULL, "purges_full", 503, "temporarily_unavailable", 1,                           \
          "Too many purges are under way; try again later.")                                       \
        X(REQUEST_TIMEOUT, "request_timeout", 504, "temporarily_unavailable", 0,                   \
          "The time for this request ran out before the issuer answered; try again later.")        \
        X(WAITERS_FULL, "waiters_full", 503, "temporarily_unavailable", 1,                         \
          "Too many requests are waiting for the issuer; try again later.")                        \
        X(FLIGHT_FULL, "flight_full", 503, "temporarily_unavailable", 1,                           \
          "Too many requests are waiting for this token; try again later.")                        \
        X(FLIGHTS_FULL, "flights_full", 503, "temporarily_unavailable", 1,                         \
          "Too many tokens are being fetched; try again later.")                                   \
        X(CONNECTIONS_FULL, "connections_full", 503, "temporarily_unavailable", 1,                 \
          "Too many connections are open; try again later.")                                       \
        X(CALLER_GONE, "caller_gone", 503, "temporarily_unavailable", 1,                           \
          "The caller had hung up before its turn came.")                                          \
        X(SHUTTING_DOWN, "shutting_down", 503, "temporarily_unavailable", 1,                       \
          "The daemon is shutting down; try again later.")                                         \
        X(OUT_OF_MEMORY, "out_of_memory", 503, "temporarily_unavailable", 1,                       \
          "The daemon is out of memory or of file descriptors; try again later.")

enum reason {
        REASON_NONE = 0, /* success */
#define X(name, code, status, error, retry_after_s, description) REASON_##name,
        REASON_TABLE(X)
#undef X
                _REASON_N,
};

struct reason_info {
        const char *code;
        unsigned int status;
        const char *error;
        unsigned int retry_after_s;
        const char *description;
};

/* For any reason but REASON_NONE; the strings are static. */
const struct reason_info *reason_info(enum reason reason);

/* A negative errno or a reason, as functions return them, as the reason to answer with. */
enum reason reason_of_error(int r);
