-- Append envelopes to the queue, as many as there is room for. Never trims: what is there stays.
--
-- (lanes.lua is put before)
-- ARGV[1]  max_length: at this many messages, ready or in work, nothing more is accepted; what
--          waits for a retry does not count, or one dead server would stop all intake
-- ARGV[2…] envelopes, each for the lane it names
-- Returns  how many were accepted: the first so many; the rest finds no room now.

local room = tonumber(ARGV[1])
for lane = 1, LANES do
  room = room - redis.call('XLEN', KEYS[lane])
end
local accepted = math.max(0, math.min(#ARGV - 1, room))
for i = 2, accepted + 1 do
  append(ARGV[i])
end
return accepted
