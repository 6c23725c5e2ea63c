-- Move messages to the dead letters.
--
-- (the loader puts holds.lua before this)
-- KEYS[LANES + 1]  dead letters: stream
-- ARGV[3]  how many dead letters are kept
-- ARGV[4]  how long they are kept, in ms
-- ARGV[5…] receipt, envelope, reason, last error, receipt, …
-- Returns  how many old dead letters were removed. A message that is no longer held is left alone.

local dead = KEYS[LANES + 1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 5, #ARGV, 4 do
  local stream, id = held(ARGV[i])
  if id then
    redis.call('XADD', dead, '*', 'e', ARGV[i + 1], 'reason', ARGV[i + 2],
      'error', ARGV[i + 3], 'died_ms', string.format('%.0f', now))
    forget(stream, id)
  end
end
local oldest = string.format('%.0f', math.max(0, now - tonumber(ARGV[4])))
local gone = redis.call('XTRIM', dead, 'MINID', '=', oldest)
return gone + redis.call('XTRIM', dead, 'MAXLEN', '=', ARGV[3])
