-- One request, the same for all of the run, as `wrk` sends it; prints the figures as JSON.
-- wrk ... request.lua URL -- PROTOCOL METHOD HEADERS BODY, the last two being files: lines
-- `Name: value`, and bytes.

local function content(path)
   local file = assert(io.open(path, "rb"))
   local bytes = file:read("*a")
   file:close()
   return bytes
end

function init(args)
   wrk.method = args[2]
   for line in content(args[3]):gmatch("[^\n]+") do
      local name, value = line:match("^([^:]+): (.*)$")
      wrk.headers[name] = value
   end
   local body = content(args[4])
   if #body > 0 then wrk.body = body end
   local request = wrk.format():gsub("HTTP/1.1\r\n", args[1] .. "\r\n", 1)
   wrk.format = function() return request end
end

function done(summary, latency)
   local failed = summary.errors
   io.write(string.format(
      '\n{"requests":%d,"microseconds":%d,"p50":%.1f,"p99":%.1f,' ..
      '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      failed.connect, failed.read, failed.write, failed.status, failed.timeout))
end
