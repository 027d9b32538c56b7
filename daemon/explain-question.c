/* SPDX-License-Identifier: MIT */

/* A caller that is only described: its groups are those of the user database, and those that were
 * named; what the kernel could not know of it (over TCP) is left out. */

#include "explain-question.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/client.h"
#include "../lib/error.h"
#include "explain.h"
#include "secrets.h"

#define ID_MAX_DIGITS 10

static bool is_number(const char *text)
{
        return *text && text[strspn(text, "0123456789")] == '\0';
}

/* The last id of all stands for none. */
static bool read_id(const char *digits, unsigned int *ret)
{
        const unsigned long long id = strlen(digits) <= ID_MAX_DIGITS ? strtoull(digits, NULL, 10)
                                                                      : UINT32_MAX;

        *ret = (unsigned int)id;
        return id < UINT32_MAX;
}

static bool take_user(struct explain_question *question, const char *name)
{
        const struct passwd *user = NULL;
        int n = EXPLAIN_GROUPS_MAX;

        if (!name) {
                question->peer.uid = getuid();
        } else if (is_number(name)) {
                if (!read_id(name, &question->peer.uid))
                        return false;
        } else {
                user = getpwnam(name);
                if (!user)
                        return false;
                question->peer.uid = user->pw_uid;
        }
        if (!user)
                user = getpwuid(question->peer.uid);
        if (user && getgrouplist(user->pw_name, user->pw_gid, question->groups, &n) >= 0)
                question->peer.n_groups = (size_t)n;
        return true;
}

static bool take_daemon(struct explain_question *question, const char *name)
{
        const struct passwd *user;

        if (is_number(name))
                return read_id(name, &question->policy.own_uid);
        user = getpwnam(name);
        if (user)
                question->policy.own_uid = user->pw_uid;
        return user;
}

static bool take_group(struct explain_question *question, const char *name)
{
        const struct group *group;
        gid_t gid;

        if (is_number(name)) {
                if (!read_id(name, &gid))
                        return false;
        } else {
                group = getgrnam(name);
                if (!group)
                        return false;
                gid = group->gr_gid;
        }
        if (question->peer.n_groups == EXPLAIN_GROUPS_MAX)
                return false;
        question->groups[question->peer.n_groups++] = gid;
        return true;
}

static bool take_subject(struct explain_question *question, const char *word)
{
        const char *colon = strchr(word, ':');

        for (int kind = 0; colon && kind < _SUBJECT_KIND_N; kind++) {
                const char *name = subject_kind_name(kind);

                if (strlen(name) != (size_t)(colon - word) ||
                    strncmp(word, name, strlen(name)) != 0)
                        continue;
                question->request.has_subject = true;
                question->request.subject_kind = kind;
                question->request.subject = TEXT(colon + 1);
                if (!subject_kind_names(kind))
                        return question->request.subject.size == 0;
                return question->request.subject.size > 0 &&
                       question->request.subject.size <= subject_kind_max_bytes(kind) &&
                       text_is_plain_utf8(question->request.subject);
        }
        return false;
}

/* Several are one set. */
static bool take_scope(struct explain_question *question, const char *word)
{
        const size_t size = strlen(word), before = question->scope_size;

        if (size == 0 || before + 1 + size > REQUEST_SCOPE_MAX_BYTES)
                return false;
        (void)snprintf(question->scope + before, sizeof(question->scope) - before, "%s%s",
                       before > 0 ? " " : "", word);
        question->scope_size = strlen(question->scope);
        return true;
}

static bool take_key(struct explain_question *question, const struct config *config,
                     const char *path, FILE *errors)
{
        struct secret key = SECRET_INIT(0);
        int r;

        r = secrets_read_key(&key, path, 1, config->policy.own_uid,
                             "egain-tokend: key_file: ", errors);
        if (r == 0)
                request_add_key(&question->keys, (struct text){key.bytes, key.size});
        secret_deinit(&key);
        return r == 0;
}

/* One NAME=VALUE. */
static bool take_word(struct explain_question *question, const struct config *config,
                      const char *word, FILE *errors)
{
        const char *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
        const size_t size = equals ? (size_t)(equals - word) : 0;
        const struct text name = {word, size};

        if (!equals || !*value)
                return false;
        if (text_equal(name, TEXT("user"))) {
                question->user = value;
                return true;
        }
        if (text_equal(name, TEXT("daemon"))) {
                question->daemon = value;
                return take_daemon(question, value);
        }
        if (text_equal(name, TEXT("group")))
                return take_group(question, value);
        if (text_equal(name, TEXT("unit"))) {
                question->unit = value;
                return true;
        }
        if (text_equal(name, TEXT("over"))) {
                question->peer.tcp = strcmp(value, "tcp") == 0;
                return question->peer.tcp || strcmp(value, "unix") == 0;
        }
        if (text_equal(name, TEXT("key_file")))
                return take_key(question, config, value, errors);
        if (text_equal(name, TEXT("client"))) {
                question->request.client = TEXT(value);
                return true;
        }
        if (text_equal(name, TEXT("subject")))
                return take_subject(question, value);
        return text_equal(name, TEXT("scope")) && take_scope(question, value);
}

/* The user's word comes first, since its groups do, wherever it stands. */
static int read_words(struct explain_question *question, const struct config *config,
                      char *const words[], int n_words, FILE *errors)
{
        for (int i = 0; i < n_words; i++)
                if (strncmp(words[i], "user=", 5) == 0)
                        question->user = words[i] + 5;
        if (!take_user(question, question->user)) {
                fprintf(errors, "egain-tokend: there is no user '%s'\n", question->user);
                return EXPLAIN_E_USAGE;
        }
        for (int i = 0; i < n_words; i++) {
                if (take_word(question, config, words[i], errors))
                        continue;
                fprintf(errors, "egain-tokend: '%s' makes no sense to --explain, which takes %s\n",
                        words[i], EXPLAIN_WORDS);
                return EXPLAIN_E_USAGE;
        }
        if (question->scope_size > 0 &&
            scope_canonicalise(question->scope, &question->scope_size) != 0) {
                fprintf(errors, "egain-tokend: scope=%s is no scope (RFC 6749, section 3.3)\n",
                        question->scope);
                return EXPLAIN_E_USAGE;
        }
        question->peer.known = true;
        if (question->peer.tcp) {
                question->peer.n_groups = 0;
                question->unit = NULL;
        }
        question->peer.groups = question->groups;
        question->peer.unit = (char *)question->unit;
        return 0;
}

/* The client application that is meant. 0, or a reason; with none named it is the only one. */
static int find_client(struct explain_question *question, const struct config *config)
{
        const struct client_settings *client;
        int r;

        r = client_select(&config->settings, &question->request, &question->client);
        if (r)
                return r;
        client = &config->settings.clients[question->client];
        question->client_name = client->name;
        question->request.subject_kind = client_kind(client, &question->request);
        question->asked = (struct text){question->scope, question->scope_size};
        if (question->scope_size == 0 && client->default_scope)
                question->asked = TEXT(client->default_scope);
        return question->asked.size > 0 ? 0 : REASON_MISSING_SCOPE;
}

int explain_question_read(struct explain_question *ret, const struct config *config,
                          char *const words[], int n_words, FILE *errors)
{
        int r;

        *ret = (struct explain_question){.policy = config->policy};
        r = read_words(ret, config, words, n_words, errors);
        if (r)
                return r;
        r = find_client(ret, config);
        if (!r)
                return 0;
        fprintf(errors, "egain-tokend: %s\n", reason_info((enum reason)r)->description);
        return EXPLAIN_E_USAGE;
}
