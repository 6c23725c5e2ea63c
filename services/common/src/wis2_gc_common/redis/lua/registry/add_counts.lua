-- Add to operational counters, once for each token.
-- KEYS  1 counters  2 token  3 series  4 seen  5 known  6 cold
-- ARGV  1 TTL of the token in s  then per counter: field, amount
-- Answers 1, or 0 for a resend
local labels = {
  series = KEYS[3], seen = KEYS[4], known = KEYS[5], cold = KEYS[6], counters = KEYS[1],
}
local PER_CENTRE = {
  [METRIC.INVALID] = true, [METRIC.CACHE_OVERRIDE] = true, [METRIC.NO_CACHE] = true,
  [METRIC.OVER_QUOTA] = true,
}
if not redis.call('SET', KEYS[2], 1, 'NX', 'EX', ARGV[1]) then return 0 end
for i = 2, #ARGV, 2 do
  local field = ARGV[i]
  local metric, centre = string.match(field, '^([^|]+)|(.*)$')
  if PER_CENTRE[metric] then field = metric .. '|' .. bounded_centre(labels, centre) end
  add(KEYS[1], field, ARGV[i + 1])
end
return 1
