-- Return a message: now, or when a delay is over.
--
-- (holds.lua is put before)
-- KEYS[2]  delayed
-- ARGV[3]  receipt
-- ARGV[4]  delay in ms (0: now)
-- ARGV[5]  envelope
-- Returns  1, or 0 when the message was no longer held: then nothing changes.

local id = held_id(ARGV[3])
if not id then
  return 0
end
-- Adding comes first: where Redis refuses (memory full), the message is still what it was.
if tonumber(ARGV[4]) > 0 then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), ARGV[5])
else
  redis.call('XADD', stream, '*', 'e', ARGV[5])
end
forget(id)
return 1
