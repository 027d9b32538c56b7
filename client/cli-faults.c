/* SPDX-License-Identifier: MIT */

#include "cli-faults.h"

#include <string.h>

#define ADVICE_START                                                                         \
        "Start it, 'systemctl start egain-tokend.socket egain-tokend.service', or name the " \
        "socket "                                                                            \
        "that it listens on with --socket."
#define ADVICE_ISSUER                                                                       \
        "Look whether the issuer is up, and whether this host reaches it: token URL, DNS, " \
        "firewall, proxy; 'journalctl -t egain-tokend' tells more."
#define ADVICE_URL \
        "Compare the token URL in the daemon's configuration with the client application's."
#define ADVICE_WAIT "Wait; the daemon asks again by itself."

const char *cli_step_name(enum cli_step step)
{
        static const char *const names[] = {
                [CLI_STEP_SOCKET] = "socket", [CLI_STEP_DAEMON] = "daemon",
                [CLI_STEP_POLICY] = "policy", [CLI_STEP_ISSUER] = "issuer",
                [CLI_STEP_SECRET] = "secret", [CLI_STEP_SUBJECT] = "subject",
                [CLI_STEP_SCOPE] = "scope",   [CLI_STEP_TOKEN] = "token",
        };

        return names[step];
}

struct cli_fault cli_fault_of_transport(const struct cli_trouble *trouble)
{
        switch (trouble->fault) {
        case BROKER_FAULT_PERMISSION:
                return (struct cli_fault){
                        CLI_STEP_SOCKET,
                        "Add the user to the group of the socket, 'usermod --append "
                        "--groups=egain-token USER', and log in again, or restart the service."};
        case BROKER_FAULT_FOREIGN:
                return (struct cli_fault){
                        CLI_STEP_SOCKET,
                        "Find out who listens there. Where the daemon really runs as that user, "
                        "name him with --daemon-user."};
        case BROKER_FAULT_BUSY:
        case BROKER_FAULT_TIMEOUT:
        case BROKER_FAULT_CLOSED:
                return (struct cli_fault){
                        CLI_STEP_DAEMON, "Look what it is doing: 'systemctl status egain-tokend'."};
        case BROKER_FAULT_CUT:
        case BROKER_FAULT_TOO_LARGE:
        case BROKER_FAULT_NOT_BROKER:
                return (struct cli_fault){
                        CLI_STEP_DAEMON,
                        "Look what listens there, and that daemon and client are of one version."};
        default: return (struct cli_fault){CLI_STEP_SOCKET, ADVICE_START};
        }
}

bool cli_fault_of_reason(const char *reason, struct cli_fault *ret)
{
        static const struct {
                const char *reason;
                struct cli_fault fault;
        } known[] = {
                {"credentials_refused",
                 {CLI_STEP_SECRET,
                  "Put the client application's present secret into its client_secret_file (the "
                  "daemon sees that by itself), and compare client_id and token URL."}},
                {"client_unauthorized",
                 {CLI_STEP_SECRET,
                  "Let the client application use this flow, in the issuer's administration."}},
                {"issuer_certificate",
                 {CLI_STEP_ISSUER,
                  "Look at the certificate: has it expired, is it for this host, is its CA trusted "
                  "('ca_file' in 'upstream')? Perhaps a proxy is in between."}},
                {"issuer_unreachable", {CLI_STEP_ISSUER, ADVICE_ISSUER}},
                {"issuer_timeout", {CLI_STEP_ISSUER, ADVICE_ISSUER}},
                {"issuer_cut", {CLI_STEP_ISSUER, ADVICE_ISSUER}},
                {"issuer_error", {CLI_STEP_ISSUER, ADVICE_ISSUER}},
                {"breaker_open", {CLI_STEP_ISSUER, ADVICE_ISSUER}},
                {"issuer_throttles", {CLI_STEP_ISSUER, ADVICE_WAIT}},
                {"answer_unusable", {CLI_STEP_ISSUER, ADVICE_URL}},
                {"answer_redirect", {CLI_STEP_ISSUER, ADVICE_URL}},
                {"answer_too_large", {CLI_STEP_ISSUER, ADVICE_URL}},
                {"subject_refused",
                 {CLI_STEP_SUBJECT,
                  "Look whether the issuer knows this subject, spelt exactly so, as one of this "
                  "kind (username, userid, email)."}},
                {"scope_refused",
                 {CLI_STEP_SCOPE,
                  "Assign the scope to the client application, in the issuer's administration, or "
                  "ask for another."}},
                {"granted_too_much",
                 {CLI_STEP_SCOPE, "Ask for all of the scope that the issuer grants."}},
        };

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (reason && strcmp(reason, known[i].reason) == 0) {
                        *ret = known[i].fault;
                        return true;
                }
        return false;
}

struct cli_fault cli_fault_of_refusal(const struct cli_trouble *trouble)
{
        struct cli_fault fault = {CLI_STEP_TOKEN, "The daemon's log tells more."};

        if (strcmp(trouble->error, "invalid_grant") == 0)
                (void)cli_fault_of_reason("subject_refused", &fault);
        else if (strcmp(trouble->error, "invalid_scope") == 0)
                (void)cli_fault_of_reason("scope_refused", &fault);
        else if (trouble->status == 502)
                fault = (struct cli_fault){
                        CLI_STEP_ISSUER,
                        "Tell whoever runs the daemon; a check by root tells them more."};
        else if (trouble->status == 503 || trouble->status == 504)
                fault = (struct cli_fault){CLI_STEP_ISSUER, ADVICE_ISSUER};
        else if (trouble->status == 429)
                fault = (struct cli_fault){CLI_STEP_POLICY,
                                           "Ask less often, or let the rule have more 'fetches'."};
        else if (trouble->status == 401 || trouble->status == 403)
                fault = (struct cli_fault){CLI_STEP_POLICY,
                                           "The rules changed meanwhile; try again."};
        return fault;
}
