-- Leave refused notifications to the managers; bound how many wait while no manager runs.
-- KEYS  1 refusals
-- ARGV  1 how many may wait  then refusals as JSON
-- Answers 1
for i = 2, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[i]) end
redis.call('LTRIM', KEYS[1], -ARGV[1], -1)
return 1
