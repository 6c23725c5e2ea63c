-- Make dead letters new messages. Skips those that are gone by now.
--
-- (the loader puts lanes.lua before this)
-- KEYS[LANES + 1]  dead letters
-- ARGV     id, envelope, id, envelope, …
-- Returns  how many were moved.

local dead = KEYS[LANES + 1]
local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1] then
    append(ARGV[i + 1])
    redis.call('XDEL', dead, ARGV[i])
    moved = moved + 1
  end
end
return moved
