-- Give an item up: after failed sources, or untouched on a drain.
-- KEYS  1 record  2 its parked sources  3 message id  4 counters  5 failures
--       6 failures of this version
-- ARGV  1 attempt  2 item token  3 error, "" on a drain  4 parked sources that were tried
--       5 "1" when no retry follows  6 reason  7 the item as JSON  8 TTL of records in s
-- Answers "released", "more" (sources were parked since; the item stays claimed) or "lost"
local MAX_FAILURES = 1000
local error_text, is_final = ARGV[3], ARGV[5] == '1'
local record = redis.call('HMGET', KEYS[1], 'f', 'o', 'n')
if record[1] ~= ARGV[1] then return 'lost' end
if not record[2] then return 'released' end
if error_text ~= '' and redis.call('HLEN', KEYS[2]) > tonumber(ARGV[4]) then return 'more' end

if error_text == '' then
  add(KEYS[1], 'n', -1)
else
  redis.call('HSET', KEYS[1], 'e', error_text)
end
redis.call('HDEL', KEYS[1], 'o', 'w', 'l', 'm')
redis.call('EXPIRE', KEYS[1], ARGV[8])
if redis.call('GET', KEYS[3]) == ARGV[2] then redis.call('DEL', KEYS[3]) end
if not is_final then return 'released' end

redis.call('DEL', KEYS[2])
-- A version counts once, however many of its notifications fail their last retry. The name of this
-- field is not a digest of a message id (fail_source.lua).
if redis.call('HSETNX', KEYS[6], 'given up', 1) == 1 then
  redis.call('EXPIRE', KEYS[6], ARGV[8])
  add(KEYS[4], METRIC.GIVEN_UP .. '|' .. ARGV[6], 1)
  redis.call('LPUSH', KEYS[5], now_ms() .. ' ' .. (record[3] or 1) .. ' ' .. ARGV[7])
  redis.call('LTRIM', KEYS[5], 0, MAX_FAILURES - 1)
end
return 'released'
