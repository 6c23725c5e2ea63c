-- Restart leases.
-- KEYS  per lease: record, its parked sources
-- ARGV  1 lease in ms  2 TTL of records in s  then per lease: attempt
-- Answers per lease the number of parked sources, or -1 when the lease is lost
local ends, answers = now_ms() + ARGV[1], {}
for i = 1, #KEYS / 2 do
  local key, parked_key = KEYS[2 * i - 1], KEYS[2 * i]
  if is_holder(key, ARGV[2 + i]) then
    redis.call('HSET', key, 'l', ends)
    redis.call('EXPIRE', key, ARGV[2])
    answers[i] = redis.call('HLEN', parked_key)
    if answers[i] > 0 then redis.call('EXPIRE', parked_key, ARGV[2]) end
  else
    answers[i] = -1
  end
end
return answers
