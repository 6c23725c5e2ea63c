-- Show that the registry may be written.
-- KEYS  1 ping
-- ARGV  1 TTL in s
-- Answers 1
redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
return 1
