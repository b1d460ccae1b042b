-- Requests that were built beforehand, each behind a line with its length, sent in turn over all connections: with one
-- connection for each, and answers in the order of the requests, every connection sends its own.

local requests = {}
local turn = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local content = file:read("*a")
  file:close()
  local position = 1
  while position <= #content do
    local line_end = content:find("\n", position, true)
    local length = tonumber(content:sub(position, line_end - 1))
    requests[#requests + 1] = content:sub(line_end + 1, line_end + length)
    position = line_end + length + 1
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  io.write(string.format(
    'summary {"answers":%d,"microseconds":%d,"not_ok":%d,"broken":%d,"p50":%d,"p99":%d,"max":%d}\n',
    summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max
  ))
end
