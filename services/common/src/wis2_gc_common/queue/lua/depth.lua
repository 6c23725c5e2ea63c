-- Say how much waits.
--
-- KEYS[1]  stream
-- KEYS[2]  delayed
-- KEYS[3]  dead letters
-- ARGV[1]  group
-- Returns  {ready, in flight, delayed, dead, age in ms of the oldest ready or in-flight message}

local length = redis.call('XLEN', KEYS[1])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
-- No group yet: nothing was handed out.
local in_flight = pending.err and 0 or pending[1]
local age = 0
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  age = math.max(0, now - tonumber(string.match(first[1], '^%d+')))
end
return {
  math.max(0, length - in_flight), in_flight,
  redis.call('ZCARD', KEYS[2]), redis.call('XLEN', KEYS[3]), age,
}
