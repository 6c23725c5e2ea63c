-- Check that the registry accepts writes.
-- KEYS  1 ping
-- ARGV  1 TTL in s
-- Answers 1
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return 1
