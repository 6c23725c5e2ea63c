-- Append as many envelopes to the queue as there is room for. Never trims: old messages stay.
--
-- (the loader puts lanes.lua before this)
-- ARGV[1]  max_length: with this many messages ready or in work, nothing more is accepted; messages
--          that wait for a retry do not count, or one dead server would stop all intake
-- ARGV[2…] envelopes, each for the lane it names
-- Returns  how many were accepted, from the first on; there is no room for the rest now.

local room = tonumber(ARGV[1])
for lane = 1, LANES do
  room = room - redis.call('XLEN', KEYS[lane])
end
local accepted = math.max(0, math.min(#ARGV - 1, room))
for i = 2, accepted + 1 do
  append(ARGV[i])
end
return accepted
