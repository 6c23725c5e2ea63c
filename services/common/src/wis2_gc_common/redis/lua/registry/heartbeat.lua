-- Record that a process is alive, and forget those that died long ago.
-- KEYS  1 processes
-- ARGV  1 field of the process  2 its status as JSON  3 ms after which others are forgotten
-- Answers 1
local now = now_ms()
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if now - tonumber(string.match(all[i + 1], '^%d+') or 0) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return 1
