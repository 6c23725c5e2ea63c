-- Return messages: now, or when a delay is over.
--
-- (the loader puts holds.lua before this)
-- KEYS[LANES + 1]  delayed
-- ARGV[3…] receipt, delay in ms (0: now), envelope, which names its lane,
--          receipt, delay, envelope, …
-- Returns  how many were still held; the others do not change.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local returned = 0
for i = 3, #ARGV, 3 do
  local stream, id = held(ARGV[i])
  if id then
    -- Add first: if Redis refuses, the message is unchanged.
    local delay = tonumber(ARGV[i + 1])
    if delay > 0 then
      redis.call('ZADD', KEYS[LANES + 1], now + delay, ARGV[i + 2])
    else
      append(ARGV[i + 2])
    end
    forget(stream, id)
    returned = returned + 1
  end
end
return returned
