/* SPDX-License-Identifier: MIT */

/*
 * A rule is out of reach if everybody whom it is for is also somebody whom one rule before it is
 * for. That several rules before it do so together, or that all members of a group have a rule of
 * their own, is not looked for.
 */

#include "config-overlap.h"

#include <string.h>

#include "../lib/error.h"
#include "../lib/pattern.h"

static config_setting_t *entry_of(config_setting_t *list, size_t i)
{
        return config_setting_get_elem(list, (unsigned int)i);
}

static bool is_sound(const struct rule *rule)
{
        return rule->user || rule->group || rule->unit;
}

static bool same_text(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_key(const struct rule *a, const struct rule *b)
{
        return a->has_key && b->has_key &&
               memcmp(a->key_sha256, b->key_sha256, sizeof(a->key_sha256)) == 0;
}

static bool same_conditions(const struct rule *a, const struct rule *b)
{
        return !a->user == !b->user && (!a->user || a->uid == b->uid) && !a->group == !b->group &&
               (!a->group || a->gid == b->gid) && same_text(a->unit, b->unit) && !a->has_key &&
               !b->has_key;
}

/* A star in the later unit can only be matched by a star of the earlier one, and so will be
 * whatever it stands for. */
static bool unit_covers(const struct rule *earlier, const struct rule *later)
{
        return !earlier->unit || (later->unit && pattern_matches(earlier->unit, TEXT(later->unit)));
}

/* Whether each condition of the earlier one holds for everybody for whom the later one's do. No two
 * rules have the same key, so one with a key covers no other. */
static bool covers(const struct rule *earlier, const struct rule *later)
{
        return (!earlier->user || (later->user && earlier->uid == later->uid)) &&
               (!earlier->group || (later->group && earlier->gid == later->gid)) &&
               unit_covers(earlier, later) && !earlier->has_key;
}

static int check_pair(struct config_reader *reader, config_setting_t *list,
                      const struct policy *policy, size_t i, size_t j, bool *shadowed)
{
        const struct rule *earlier = &policy->rules[i], *later = &policy->rules[j];
        const char *name = earlier->name ? earlier->name : "";
        int r = 0;

        if (earlier->name && same_text(earlier->name, later->name))
                r = config_mistakes_add(&reader->mistakes,
                                        config_reader_line(entry_of(list, j), "name"),
                                        "the name \"%s\" is taken already, by line %d", later->name,
                                        config_reader_line(entry_of(list, i), "name"));
        if (r || !is_sound(earlier) || !is_sound(later))
                return error_trace(r);

        if (same_key(earlier, later))
                return config_mistakes_add(
                        &reader->mistakes, config_reader_line(entry_of(list, j), "key_file"),
                        "the key in 'key_file' is that of rule \"%s\" already, in line %d: a key "
                        "of its own was expected",
                        name, config_reader_line(entry_of(list, i), "key_file"));
        if (same_conditions(earlier, later))
                return config_mistakes_add(&reader->mistakes, later->line,
                                           "the conditions of this rule are those of rule \"%s\" "
                                           "in line %d, which alone would ever be selected: make "
                                           "one of the two, or let a condition tell them apart",
                                           name, earlier->line);
        if (*shadowed || !covers(earlier, later))
                return 0;
        *shadowed = true;
        return config_mistakes_warn(&reader->mistakes, later->line,
                                    "this rule is never selected: rule \"%s\" in line %d is "
                                    "selected first for everybody whom it is for; put the narrower "
                                    "one before it",
                                    name, earlier->line);
}

int config_overlap_check(struct config_reader *reader, config_setting_t *list,
                         const struct policy *policy)
{
        int r;

        for (size_t j = 1; j < policy->n_rules; j++) {
                bool shadowed = false;

                for (size_t i = 0; i < j; i++) {
                        r = check_pair(reader, list, policy, i, j, &shadowed);
                        if (r)
                                return error_trace(r);
                }
        }
        return 0;
}
