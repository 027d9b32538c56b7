-- SPDX-License-Identifier: MIT
--
-- wrk -s post.lua URL -- CLOSE SUBJECTS: requests for tokens, as an application sends them. CLOSE is
-- "close" for a new connection each time, else "keep"; SUBJECTS is how many subjects are asked for,
-- evenly at random. Prints one line of JSON at the end.

local form = "grant_type=password&client_id=7121f585-e403-4531-9a38-1826ebc7e7d8"
	.. "&scope=knowledge.portalmgr.onbehalfof.read&subject_username=user-"

function init(args)
	subjects = tonumber(args[2])
	wrk.method = "POST"
	wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
	wrk.headers["Accept"] = "application/json"
	wrk.headers["User-Agent"] = "bench/1.0"
	if args[1] == "close" then
		wrk.headers["Connection"] = "close"
	end
	math.randomseed(os.time() + tonumber(tostring(wrk.thread):match("0x(%x+)"), 16) % 100000)
	wrk.body = form .. "1"
	constant = wrk.format()
end

function request()
	if subjects == 1 then
		return constant
	end
	return wrk.format(nil, nil, nil, form .. math.random(subjects))
end

function done(summary, latency)
	local errors = summary.errors
	io.write(string.format(
		'{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "p999_us": %d, "errors": %d}\n',
		summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
		latency:percentile(99.9),
		errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
