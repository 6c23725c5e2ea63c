-- Record an item as finished and move the counters, once.
-- KEYS  1 record  2 its parked sources  3 failures of this version
--       4 counters  5 gauges  6 delays  7 series  8 seen  9 known  10 cold  11 held
-- ARGV  1 attempt  2 pubtime  3 centre-id of the topic as a label  4 outcome  5 centre-id label
--       6 data server label, or ""  7 "1" for metadata  8 size in bytes  9 bucket of the delay
--       10 delay in microseconds  11 TTL of records in s  12 size in the store in bytes
--       13 label of its quota  then the object key in pieces
-- Answers 1 when this attempt finishes the item, now or before; 0 when the lease is lost
local attempt, pubtime, outcome = ARGV[1], ARGV[2], ARGV[4]
local record = redis.call('HMGET', KEYS[1], 'f', 'o', 'g', 'd')
if record[3] == attempt then return 1 end
if record[1] ~= attempt or not record[2] then return 0 end

local now = now_ms()
redis.call('HSET', KEYS[1], 's', outcome == 'deleted' and 'x' or 'd', 'p', pubtime, 'z', now,
           'g', attempt)
redis.call('HDEL', KEYS[1], 'o', 'w', 'l', 'm', 'v', 't', 'f')
if record[4] and not is_later(record[4], trusted(pubtime, now)) then
  redis.call('HDEL', KEYS[1], 'd')
end
local pieces = #ARGV - 13
for i = 1, pieces do redis.call('HSET', KEYS[1], i - 1, ARGV[13 + i]) end
-- The previous version's key may have been longer.
while redis.call('HDEL', KEYS[1], pieces) == 1 do pieces = pieces + 1 end
redis.call('EXPIRE', KEYS[1], ARGV[11])
redis.call('DEL', KEYS[2], KEYS[3])

local counters, gauges = KEYS[4], KEYS[5]
local labels = {
  series = KEYS[7], seen = KEYS[8], known = KEYS[9], cold = KEYS[10], counters = counters,
}
add(counters, METRIC.ITEMS .. '|' .. outcome, 1)
if is_in_future(pubtime, now) then
  add(counters, METRIC.FUTURE_PUBTIMES .. '|' .. bounded_centre(labels, ARGV[3]), 1)
end
if outcome == 'deleted' then return 1 end
local centre = bounded_centre(labels, ARGV[5])
if outcome == 'uncached' then
  add(counters, METRIC.NO_CACHE .. '|' .. centre, 1)
elseif outcome == 'override' then
  add(counters, METRIC.CACHE_OVERRIDE .. '|' .. centre, 1)
else
  local time = string.format('%.3f', now / 1000)
  add(counters, METRIC.DOWNLOADED .. '|' .. centre, 1)
  add(counters, METRIC.CACHED_VOLUME .. '|' .. centre, ARGV[8])
  add(KEYS[11], METRIC.HELD_BYTES .. '|' .. ARGV[13], ARGV[12])
  redis.call('HSET', gauges, METRIC.LAST_DOWNLOAD .. '|' .. centre, time)
  local host = bounded_host(labels, centre, ARGV[6])
  if host ~= '' then
    local of_host = '|' .. centre .. '|' .. host
    redis.call('HSET', gauges, METRIC.DATASERVER_STATUS .. of_host, 1,
               METRIC.DATASERVER_LAST_DOWNLOAD .. of_host, time)
  end
  if ARGV[7] == '1' then
    redis.call('HSET', gauges, METRIC.LAST_METADATA .. '|' .. centre, time)
  end
  add(KEYS[6], ARGV[9], 1)
  add(KEYS[6], 'sum_us', ARGV[10])
end
return 1
