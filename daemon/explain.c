/* SPDX-License-Identifier: MIT */

/*
 * The same functions judge here as for a request: policy_select() picks the rule, policy_check_…()
 * say what it gives. Only the words around them are this file's, and the order: who, what, every
 * rule up to the one that decides, its rights one by one, the outcome, and what would change it.
 */

#include "explain.h"

#include <string.h>

#include "../lib/error.h"
#include "config-names.h"
#include "explain-question.h"

static void print_caller(const struct explain_question *question, FILE *out)
{
        fprintf(out, "caller: uid %u", (unsigned int)question->peer.uid);
        if (question->user)
                fprintf(out, " (%s)", question->user);
        if (question->peer.tcp) {
                fprintf(out, ", over TCP, where neither groups nor unit are known\n");
                return;
        }
        for (size_t i = 0; i < question->peer.n_groups; i++)
                fprintf(out, "%s%u", i == 0 ? ", groups " : " ", (unsigned int)question->groups[i]);
        fprintf(out, ", %s%s, over a Unix socket\n", question->unit ? "unit " : "unit not known",
                question->unit ? question->unit : "");
}

/* Why a rule is not selected, the first condition that does not hold; NULL: it is. */
static const char *failing_condition(const struct rule *rule,
                                     const struct explain_question *question)
{
        if (!policy_user_holds(rule, &question->peer))
                return "user";
        if (!policy_group_holds(rule, &question->peer))
                return "group";
        if (!policy_unit_holds(rule, &question->peer))
                return "unit";
        if (!policy_key_holds(rule, &question->keys))
                return "key_file";
        return NULL;
}

static void print_condition(const struct rule *rule, const char *condition,
                            const struct explain_question *question, FILE *out)
{
        if (strcmp(condition, "user") == 0)
                fprintf(out, "its user is %s (%u), not %u", rule->user, (unsigned int)rule->uid,
                        (unsigned int)question->peer.uid);
        else if (strcmp(condition, "group") == 0)
                fprintf(out, "its group %s (%u) is not among the caller's", rule->group,
                        (unsigned int)rule->gid);
        else if (strcmp(condition, "unit") == 0)
                fprintf(out, "its unit is %s, not %s", rule->unit,
                        question->unit ? question->unit : "known of the caller");
        else
                fprintf(out, "its key_file holds %s",
                        question->keys.n > 0 ? "another key" : "a key, and none was sent");
}

/* Every rule up to the one that is selected; NULL: none is. */
static const struct rule *print_rules(const struct policy *policy,
                                      const struct explain_question *question, FILE *out)
{
        const struct rule *rule = NULL;

        for (size_t i = 0; i < policy->n_rules; i++) {
                const char *condition = failing_condition(&policy->rules[i], question);

                fprintf(out, "rule '%s' (line %d): ", policy->rules[i].name, policy->rules[i].line);
                if (!condition) {
                        fprintf(out, "selected; it decides alone\n");
                        return &policy->rules[i];
                }
                fprintf(out, "not selected: ");
                print_condition(&policy->rules[i], condition, question, out);
                fprintf(out, "\n");
        }
        if (policy->n_rules == 0)
                fprintf(out,
                        "no rules are configured: the built-in one gives everything to the "
                        "daemon's user (uid %u%s), and to root on Unix sockets\n",
                        (unsigned int)policy->own_uid,
                        question->daemon ? "" : "; daemon=USER says that it is another");
        (void)policy_select(policy, &question->peer, &question->keys, &rule);
        return rule;
}

static void print_right(FILE *out, const char *what, struct text value, bool given)
{
        fprintf(out, "  %s %.*s: %s\n", what, (int)value.size, value.bytes,
                given ? "given" : "NOT given");
}

/* What the selected rule gives of what is asked for. 0 or the reason of a refusal. */
static int print_rights(const struct rule *rule, const struct explain_question *question, FILE *out)
{
        const struct token_request *request = &question->request;
        const int client = policy_check_client(rule, question->client);
        const int scope = policy_check_scope(rule, question->asked);
        struct text value;
        size_t at = 0;
        int subject = 0;

        print_right(out, "client", TEXT(question->client_name), client == 0);
        if (request->has_subject) {
                subject = policy_check_subject(rule, request->subject_kind, request->subject);
                fprintf(out, "  subject %s%s%.*s: %s\n", subject_kind_name(request->subject_kind),
                        subject_kind_names(request->subject_kind) ? ":" : "",
                        (int)request->subject.size, request->subject.bytes,
                        subject == 0 ? "given" : "NOT given");
        }
        while ((value = scope_next(question->asked, &at)).size > 0)
                print_right(out, "scope", value, policy_gives_scope(rule, value));
        return client ? client : subject ? subject : scope;
}

static bool has_right(const struct policy *policy, const struct explain_question *question,
                      enum right right)
{
        return policy_check_right(policy, &question->peer, &question->keys, right, NULL) == 0;
}

static void print_fetches(const struct policy *policy, const struct rule *rule,
                          const struct explain_question *question, FILE *out)
{
        const bool admin = has_right(policy, question, RIGHT_ADMIN);

        if (rule->fetches.count > 0)
                fprintf(out, "  fetches: %llu in %llu s\n", (unsigned long long)rule->fetches.count,
                        (unsigned long long)rule->fetches.period_ms / 1000);
        fprintf(out, "  monitor: %s, admin: %s\n",
                has_right(policy, question, RIGHT_MONITOR) ? "yes" : "no",
                admin         ? "yes"
                : rule->admin ? "over Unix sockets only"
                              : "no");
}

/* What stands between the quotes of the configuration's strings. */
static void print_escaped(FILE *out, struct text text)
{
        for (size_t i = 0; i < text.size; i++) {
                if (text.bytes[i] == '"' || text.bytes[i] == '\\')
                        fputc('\\', out);
                fputc(text.bytes[i], out);
        }
}

static void print_string(FILE *out, struct text text)
{
        fputc('"', out);
        print_escaped(out, text);
        fputc('"', out);
}

static void print_subject(const struct token_request *request, FILE *out)
{
        fprintf(out, "\"%s:", subject_kind_name(request->subject_kind));
        if (subject_kind_names(request->subject_kind))
                print_escaped(out, request->subject);
        else
                fputc('*', out);
        fputc('"', out);
}

/* A line that would be enough, and gives nothing else. */
static void print_new_rule(const struct explain_question *question, FILE *out)
{
        const struct token_request *request = &question->request;
        struct text value;
        size_t at = 0;

        fprintf(out, "  { name = \"NAME\";");
        if (!config_names_fault(question->peer.uid)) {
                fprintf(out, " user = ");
                if (question->user)
                        print_string(out, TEXT(question->user));
                else
                        fprintf(out, "\"%u\"", (unsigned int)question->peer.uid);
                fprintf(out, ";");
        }
        if (question->unit) {
                fprintf(out, " unit = ");
                print_string(out, TEXT(question->unit));
                fprintf(out, ";");
        }
        fprintf(out, " clients = [ \"%s\" ]; subjects = [ ", question->client_name);
        if (request->has_subject)
                print_subject(request, out);
        else
                fprintf(out, "\"username:…\"");
        fprintf(out, " ]; scopes = [");
        for (bool first = true; (value = scope_next(question->asked, &at)).size > 0;
             first = false) {
                fprintf(out, first ? " " : ", ");
                print_string(out, value);
        }
        fprintf(out, " ]; }\n");
}

/* Everything that the rule lacks, in as many lines as it would have to change. */
static void print_missing(const struct rule *rule, const struct explain_question *question,
                          FILE *out)
{
        const struct token_request *request = &question->request;
        struct text value;
        size_t at = 0;
        bool any = false;

        if (policy_check_client(rule, question->client))
                fprintf(out, "  clients = [ …, \"%s\" ];\n", question->client_name);
        if (request->has_subject &&
            policy_check_subject(rule, request->subject_kind, request->subject)) {
                fprintf(out, "  subjects = [ …, ");
                print_subject(request, out);
                fprintf(out, " ];\n");
        }
        while ((value = scope_next(question->asked, &at)).size > 0) {
                if (policy_gives_scope(rule, value))
                        continue;
                fprintf(out, any ? ", " : "  scopes = [ …, ");
                print_string(out, value);
                any = true;
        }
        if (any)
                fprintf(out, " ];\n");
}

/* A later rule that would have given it, but for the order. */
static void print_shadowed(const struct config *config, const struct rule *selected,
                           const struct explain_question *question, FILE *out)
{
        const struct token_request *request = &question->request;

        for (const struct rule *rule = selected + 1;
             rule < question->policy.rules + question->policy.n_rules; rule++) {
                if (failing_condition(rule, question) ||
                    policy_check_client(rule, question->client) ||
                    policy_check_scope(rule, question->asked) ||
                    (request->has_subject &&
                     policy_check_subject(rule, request->subject_kind, request->subject)))
                        continue;
                fprintf(out, "(rule '%s' in line %d would give it, but '%s' is selected before)\n",
                        rule->name, rule->line, selected->name);
                return;
        }
}

/* A pattern knows no other way to say a star. */
static void print_wildcard(const struct token_request *request, FILE *out)
{
        if (request->has_subject && memchr(request->subject.bytes, '*', request->subject.size))
                fprintf(out, "(beware: the '*' of this subject stands for any characters there)\n");
}

static int print_refusal(const struct config *config, const struct rule *rule,
                         const struct explain_question *question, int reason, FILE *out)
{
        const struct reason_info *info = reason_info((enum reason)reason);
        const struct token_request *request = &question->request;
        const char *fault;

        fprintf(out, "refused: %s (%u %s): %s\n", info->code, info->status, info->error,
                info->description);
        if (reason == REASON_BAD_KEY)
                return EXPLAIN_E_REFUSED;
        fault = rule ? NULL : config_names_fault(question->peer.uid);
        if (fault && !question->unit) {
                fprintf(out, "uid %u %s\n", (unsigned int)question->peer.uid, fault);
                return EXPLAIN_E_REFUSED;
        }
        if (!rule) {
                fprintf(out, "this entry of 'callers' in %s would allow it:\n", config->path);
                print_new_rule(question, out);
                if (question->policy.n_rules == 0)
                        fprintf(out, "(with a first rule, the built-in one ends: the daemon's user "
                                     "and root then get tokens by rules, too)\n");
                print_wildcard(request, out);
                return EXPLAIN_E_REFUSED;
        }
        fprintf(out, "this in rule '%s', %s line %d, would allow it:\n", rule->name, config->path,
                rule->line);
        print_missing(rule, question, out);
        print_wildcard(request, out);
        print_shadowed(config, rule, question, out);
        return EXPLAIN_E_REFUSED;
}

int explain(const struct config *config, char *const words[], int n_words, FILE *out, FILE *errors)
{
        struct explain_question question;
        const struct rule *rule;
        int r;

        r = explain_question_read(&question, config, words, n_words, errors);
        if (r)
                return r;
        print_caller(&question, out);
        rule = print_rules(&question.policy, &question, out);
        if (!rule)
                return print_refusal(
                        config, NULL, &question,
                        policy_select(&question.policy, &question.peer, &question.keys, &rule),
                        out);
        r = print_rights(rule, &question, out);
        print_fetches(&question.policy, rule, &question, out);
        if (r)
                return print_refusal(config, rule, &question, r, out);
        fprintf(out, question.request.has_subject
                             ? "permitted\n"
                             : "permitted, as far as client and scope go; no subject= was given\n");
        return 0;
}
