-- Move a message to the dead letters.
--
-- (holds.lua is put before)
-- KEYS[2]  dead letters: stream
-- ARGV[3]  receipt
-- ARGV[4]  envelope
-- ARGV[5]  reason
-- ARGV[6]  last error
-- ARGV[7]  how many dead letters are kept
-- ARGV[8]  how long they are kept, in ms
-- Returns  {1, or 0 when the message was no longer held: then nothing changes,
--           how many old dead letters had to go}

local id = held_id(ARGV[3])
if not id then
  return {0, 0}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('XADD', KEYS[2], '*',
  'e', ARGV[4], 'reason', ARGV[5], 'error', ARGV[6], 'died_ms', string.format('%.0f', now))
forget(id)
local oldest = string.format('%.0f', math.max(0, now - tonumber(ARGV[8])))
local gone = redis.call('XTRIM', KEYS[2], 'MINID', '=', oldest)
gone = gone + redis.call('XTRIM', KEYS[2], 'MAXLEN', '=', ARGV[7])
return {1, gone}
