/* SPDX-License-Identifier: MIT */

#include "log-event.h"

#include <string.h>

static const struct log_event_info infos[_LOG_EVENT_N] = {
        [LOG_EVENT_READY] = {"ready", LOG_LEVEL_INFO, false, "f5b9cd453b7f40f4b01030df5afe9955"},
        [LOG_EVENT_STOPPING] = {"stopping", LOG_LEVEL_INFO, false,
                                "a4c90c465338484a98f3739f03327a1b"},
        [LOG_EVENT_STOPPED] = {"stopped", LOG_LEVEL_INFO, false,
                               "94c05aa2818641558c5823cf5d470e49"},
        [LOG_EVENT_LISTENING] = {"listening", LOG_LEVEL_INFO, false,
                                 "6672a32f48f640548371c8c263685e2b"},
        [LOG_EVENT_ACCEPT_PAUSED] = {"accept_paused", LOG_LEVEL_WARNING, false,
                                     "69aa6eac8c3f4d73a5f9e0ba16dfd3cf"},
        [LOG_EVENT_ACCEPT_RESUMED] = {"accept_resumed", LOG_LEVEL_INFO, false,
                                      "78dc59246039420fbf6edc40d3a4eaf5"},
        [LOG_EVENT_BREAKER_OPENED] = {"breaker_opened", LOG_LEVEL_WARNING, false,
                                      "4793e08cec3a42009d7359cd4b5adfe3"},
        [LOG_EVENT_ISSUER_PROBED] = {"issuer_probed", LOG_LEVEL_INFO, false,
                                     "c6fd162b53a44f969a29458786dc433d"},
        [LOG_EVENT_ISSUER_HOLDS] = {"issuer_holds", LOG_LEVEL_WARNING, false,
                                    "c8cd79cffeff474c8a9e47d20f6d57bb"},
        [LOG_EVENT_ISSUER_WELL] = {"issuer_well", LOG_LEVEL_INFO, false,
                                   "81fe483eb9b14d7694fc8879dfee6679"},
        [LOG_EVENT_CLIENT_HELD] = {"client_held", LOG_LEVEL_ERROR, false,
                                   "3efc0f0b6a76459a87541ae94a56fbe4"},
        [LOG_EVENT_CLIENT_WELL] = {"client_well", LOG_LEVEL_INFO, false,
                                   "ee322f8dc8ce4554a02d6603050f7b44"},
        [LOG_EVENT_SECRET_REFUSED] = {"secret_refused", LOG_LEVEL_WARNING, false,
                                      "9827e786eb524b2bbfb195d14db6af0a"},
        [LOG_EVENT_SECRET_READ] = {"secret_read", LOG_LEVEL_INFO, false,
                                   "188541adb4b142efb29d2e44d8ce6444"},
        [LOG_EVENT_SECRET_KEPT] = {"secret_kept", LOG_LEVEL_WARNING, true,
                                   "f087d55693974682b6903abf4b626162"},
        [LOG_EVENT_SECRETS_WELL] = {"secrets_well", LOG_LEVEL_INFO, false,
                                    "fb2fbe41045342f18c891d724ed4b599"},
        [LOG_EVENT_SECRET_EXPIRING] = {"secret_expiring", LOG_LEVEL_WARNING, false,
                                       "76867b32477d45dcb536de745de5e1e1"},
        [LOG_EVENT_SECRET_EXPIRED] = {"secret_expired", LOG_LEVEL_ERROR, false,
                                      "33e7deabc79145c4b680680122fe6a7d"},
        [LOG_EVENT_RELOADING] = {"reloading", LOG_LEVEL_INFO, false,
                                 "9d4f83ad18264426b45f593ba2ba6519"},
        [LOG_EVENT_RELOADED] = {"reloaded", LOG_LEVEL_INFO, false,
                                "30dfccfac7f34b3c94603e4735f1ce3d"},
        [LOG_EVENT_RELOAD_FAILED] = {"reload_failed", LOG_LEVEL_ERROR, false,
                                     "6ff0e551fccc4a9999fc92fc7cd5f32e"},
        [LOG_EVENT_SNAPSHOT_KEPT] = {"snapshot_kept", LOG_LEVEL_INFO, false,
                                     "6f5ba89d864945abb9aabb0cc7b49d37"},
        [LOG_EVENT_SNAPSHOT_RESTORED] = {"snapshot_restored", LOG_LEVEL_INFO, false,
                                         "ee99d2586cd64b71bd21174c846d1a90"},
        [LOG_EVENT_SNAPSHOT_DISCARDED] = {"snapshot_discarded", LOG_LEVEL_WARNING, false,
                                          "708f31810ea7481db306a32022a4fbe9"},
        [LOG_EVENT_FETCH_FAILED] = {"fetch_failed", LOG_LEVEL_WARNING, true,
                                    "577c4b553ca34574a2f107b4d59996db"},
        [LOG_EVENT_AUDIT_STUCK] = {"audit_stuck", LOG_LEVEL_WARNING, false,
                                   "e8ff607398c9405f9cb914a1fed72e0e"},
        [LOG_EVENT_AUDIT_WELL] = {"audit_well", LOG_LEVEL_INFO, false,
                                  "b328ec83ba744118b2062b8589e63643"},
        [LOG_EVENT_AUDIT_DROPPED] = {"audit_dropped", LOG_LEVEL_WARNING, false,
                                     "b63666b7263b41c6abe193d9c964ba29"},
        [LOG_EVENT_AUDIT_WITHHELD] = {"audit_withheld", LOG_LEVEL_WARNING, false,
                                      "0d1fa3996bb5451a966e6a32d45a48bd"},
        [LOG_EVENT_LOG_DROPPED] = {"log_dropped", LOG_LEVEL_WARNING, false,
                                   "490310435a7a411c83066e1afdc76764"},
};

#define STRING(member, journal)                                              \
        {                                                                    \
                journal, #member, offsetof(struct log_fields, member), false \
        }
#define NUMBER(member, journal)                                             \
        {                                                                   \
                journal, #member, offsetof(struct log_fields, member), true \
        }

/* Names that the audit record has, too, mean the same there. */
const struct log_field_info log_field_infos[LOG_FIELD_N] = {
        STRING(client, "EGAIN_CLIENT"),     STRING(url, "EGAIN_URL"),
        STRING(reason, "EGAIN_REASON"),     STRING(detail, "EGAIN_DETAIL"),
        STRING(listener, "EGAIN_LISTENER"), STRING(source, "EGAIN_SOURCE"),
        STRING(changed, "EGAIN_CHANGED"),   NUMBER(count, "EGAIN_COUNT"),
        NUMBER(for_ms, "EGAIN_FOR_MS"),
};

const struct log_event_info *log_event_info(enum log_event event)
{
        return event == LOG_EVENT_NONE ? NULL : &infos[event];
}

const char *log_field_string(const struct log_fields *fields, size_t i)
{
        const char *string;

        memcpy(&string, (const char *)fields + log_field_infos[i].offset, sizeof(string));
        return string;
}

uint64_t log_field_number(const struct log_fields *fields, size_t i)
{
        uint64_t number;

        memcpy(&number, (const char *)fields + log_field_infos[i].offset, sizeof(number));
        return number;
}
