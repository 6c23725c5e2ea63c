-- Give an item up: after failed sources, or untouched on a drain.
-- KEYS  1 record  2 its parked sources  3 message id  4 counters  5 failures
-- ARGV  1 fence  2 owner  3 item token  4 error, "" on a drain  5 parked sources that were tried
--       6 "1" when no retry follows  7 reason  8 the item as JSON  9 TTL of records in s
-- Answers "released", "more" (sources were parked since; the item stays claimed) or "lost"
local MAX_FAILURES = 1000
local error_text, is_final = ARGV[4], ARGV[6] == '1'
local record = redis.call('HMGET', KEYS[1], 'f', 'o', 'g')
if record[1] ~= ARGV[1] or record[3] == ARGV[1] then return 'lost' end
if not record[2] then return 'released' end
if record[2] ~= ARGV[2] then return 'lost' end
if error_text ~= '' and redis.call('HLEN', KEYS[2]) > tonumber(ARGV[5]) then return 'more' end

if error_text == '' then
  redis.call('HINCRBY', KEYS[1], 'n', -1)
else
  redis.call('HSET', KEYS[1], 'e', error_text)
end
redis.call('HDEL', KEYS[1], 'o', 'w', 'l', 'm')
redis.call('EXPIRE', KEYS[1], ARGV[9])
if redis.call('GET', KEYS[3]) == ARGV[3] then redis.call('DEL', KEYS[3]) end
if is_final then
  redis.call('DEL', KEYS[2])
  redis.call('HINCRBY', KEYS[4], METRIC.GIVEN_UP .. '|' .. ARGV[7], 1)
  local attempts = redis.call('HGET', KEYS[1], 'n')
  redis.call('LPUSH', KEYS[5], now_ms() .. ' ' .. attempts .. ' ' .. ARGV[8])
  redis.call('LTRIM', KEYS[5], 0, MAX_FAILURES - 1)
end
return 'released'
