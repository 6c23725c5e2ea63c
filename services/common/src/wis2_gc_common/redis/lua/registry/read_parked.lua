-- Read the fall-back sources that wait with an item.
-- KEYS  1 record  2 its parked sources
-- ARGV  1 attempt
-- Answers the sources, each after two digits that give its order; none when the lease is lost
if not is_holder(KEYS[1], ARGV[1]) then return {} end
return redis.call('HVALS', KEYS[2])
