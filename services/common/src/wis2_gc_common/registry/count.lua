-- Add to operational counters, once for each token.
-- KEYS  1 counters  2 token
-- ARGV  1 TTL of the token in s  then per counter: field, amount
-- Answers 1, or 0 for a resend
if not redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[1]) then return 0 end
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
