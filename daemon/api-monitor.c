/* SPDX-License-Identifier: MIT */

/* What state the daemon is in, for those who may know. A key that a rule asks for can be sent as
 * the password of HTTP Basic, as everywhere. */

#include "../lib/error.h"
#include "api-private.h"
#include "monitor.h"

static int answer(struct api *api, struct api_call *call,
                  int (*render)(const struct monitor *monitor, struct response *ret))
{
        int r;

        r = api_read_request(call, REQUEST_FILTER);
        if (r == 0)
                r = policy_check_right(broker_policy(api->broker), call->peer, &call->request.keys,
                                       RIGHT_MONITOR, NULL);
        if (r)
                return error_trace(api_answer_error(call, reason_of_error(r)));
        r = render(api->monitor, &call->response);
        return r ? error_trace(r) : API_ANSWER;
}

int api_handle_metrics(struct api *api, struct api_call *call)
{
        return error_trace(answer(api, call, monitor_render_metrics));
}

int api_handle_status(struct api *api, struct api_call *call)
{
        return error_trace(answer(api, call, monitor_render_status));
}
