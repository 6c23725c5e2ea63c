-- Hold the session at a Global Broker for one listener, or release it.
-- KEYS  1 session
-- ARGV  1 listener  2 lease in ms, 0: release it
-- Answers 1, or 0: another listener holds it
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
