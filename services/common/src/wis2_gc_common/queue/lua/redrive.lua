-- Make dead letters new messages. One that is gone meanwhile is left out.
--
-- KEYS[1]  stream
-- KEYS[2]  dead letters
-- ARGV     id, envelope, id, envelope, …
-- Returns  how many were moved.

local moved = 0
for i = 1, #ARGV, 2 do
  if redis.call('XRANGE', KEYS[2], ARGV[i], ARGV[i])[1] then
    redis.call('XADD', KEYS[1], '*', 'e', ARGV[i + 1])
    redis.call('XDEL', KEYS[2], ARGV[i])
    moved = moved + 1
  end
end
return moved
