-- Decide whether an event about a centre may be sent now: one per interval.
-- KEYS  1 event of the centre
-- ARGV  1 interval in ms
-- Answers 1, or 0 within the interval of the last one
return redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) and 1 or 0
