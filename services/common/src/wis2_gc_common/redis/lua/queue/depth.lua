-- Count what waits, in all lanes together.
--
-- (the loader sets LANES before this)
-- KEYS[1…LANES]    streams
-- KEYS[LANES + 1]  delayed
-- KEYS[LANES + 2]  dead letters
-- ARGV[1]  group
-- Returns  {ready, in flight, delayed, dead, age in ms of the oldest ready or in-flight message}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ready, in_flight, age = 0, 0, 0
for lane = 1, LANES do
  local stream = KEYS[lane]
  local length = redis.call('XLEN', stream)
  if length > 0 then
    local pending = redis.pcall('XPENDING', stream, ARGV[1])
    -- No group yet: nothing is handed out.
    local held = pending.err and 0 or pending[1]
    ready, in_flight = ready + math.max(0, length - held), in_flight + held
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    age = math.max(age, now - tonumber(string.match(first[1], '^%d+')))
  end
end
return {
  ready, in_flight,
  redis.call('ZCARD', KEYS[LANES + 1]), redis.call('XLEN', KEYS[LANES + 2]), age,
}
