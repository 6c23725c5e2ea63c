-- Record an item as finished and move the counters, once.
-- KEYS  1 record  2 its parked sources  3 what has failed of this version
--       4 counters  5 gauges  6 delays  7 series
-- ARGV  1 fence  2 owner  3 pubtime  4 centre-id of the topic  5 outcome  6 centre-id label
--       7 data server label, or ""  8 "1" for metadata  9 size in bytes  10 bucket of the delay
--       11 delay in microseconds  12 TTL of records in s  then the object key in pieces
-- Answers 1 when the item is finished by this lease, now or before; 0 when the lease is lost
local fence, outcome = ARGV[1], ARGV[5]
local record = redis.call('HMGET', KEYS[1], 'f', 'o', 'g', 'd')
if record[3] == fence then return 1 end
if record[1] ~= fence or record[2] ~= ARGV[2] then return 0 end

redis.call('HSET', KEYS[1], 's', outcome == 'deleted' and 'x' or 'd', 'p', ARGV[3], 'c', ARGV[4],
           'g', fence)
redis.call('HDEL', KEYS[1], 'o', 'w', 'l', 'm', 'v', 't', 'a')
if record[4] and not is_later(record[4], ARGV[3]) then redis.call('HDEL', KEYS[1], 'd') end
local pieces = #ARGV - 12
for i = 1, pieces do redis.call('HSET', KEYS[1], i - 1, ARGV[12 + i]) end
-- The previous version's key may have been longer.
while redis.call('HDEL', KEYS[1], pieces) == 1 do pieces = pieces + 1 end
redis.call('EXPIRE', KEYS[1], ARGV[12])
redis.call('DEL', KEYS[2], KEYS[3])

local counters, gauges = KEYS[4], KEYS[5]
redis.call('HINCRBY', counters, METRIC.ITEMS .. '|' .. outcome, 1)
if outcome == 'deleted' then return 1 end
local centre = bounded_centre(KEYS[7], ARGV[6])
if outcome == 'uncached' then
  redis.call('HINCRBY', counters, METRIC.NO_CACHE .. '|' .. centre, 1)
elseif outcome == 'override' then
  redis.call('HINCRBY', counters, METRIC.CACHE_OVERRIDE .. '|' .. centre, 1)
else
  local now = string.format('%.3f', now_ms() / 1000)
  redis.call('HINCRBY', counters, METRIC.DOWNLOADED .. '|' .. centre, 1)
  redis.call('HINCRBY', counters, METRIC.CACHED_VOLUME .. '|' .. centre, ARGV[9])
  redis.call('HSET', gauges, METRIC.LAST_DOWNLOAD .. '|' .. centre, now)
  local host = bounded_host(KEYS[7], gauges, centre, ARGV[7])
  if host ~= '' then
    local labels = '|' .. centre .. '|' .. host
    redis.call('HSET', gauges, METRIC.DATASERVER_STATUS .. labels, 1,
               METRIC.DATASERVER_LAST_DOWNLOAD .. labels, now)
  end
  if ARGV[8] == '1' then
    redis.call('HSET', gauges, METRIC.LAST_METADATA .. '|' .. centre, now)
  end
  redis.call('HINCRBY', KEYS[6], ARGV[10], 1)
  redis.call('HINCRBY', KEYS[6], 'sum_us', ARGV[11])
end
return 1
