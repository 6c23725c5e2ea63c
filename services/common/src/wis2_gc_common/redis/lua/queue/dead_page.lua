-- List dead letters, oldest first. A script, so that the reply has the same shape in every library.
--
-- KEYS[1]  dead letters
-- ARGV[1]  where to start: '-', or '(' and the id of the last one seen
-- ARGV[2]  how many at most
-- Returns  {{id, {field, value, …}}, …}

return redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
