-- Take a list of known centres, and remove labels that were not used for days.
-- KEYS  1 counters  2 gauges  3 series  4 seen  5 known  6 cold
-- ARGV  1 days  2 "1" when a list is given  3 number of counters, 4 of gauges per centre,
--       5 of gauges per data server; then their metrics in this order; then the known centre-ids
-- Answers how many labels were removed
--
-- The counters of a removed centre are kept aside or, if those are too many, added to the counters
-- of "other": a sum over all centres stays exact.
local MAX_COLD = 5000
local counters, gauges, series, seen, known, cold = unpack(KEYS)
local days, day = tonumber(ARGV[1]), math.floor(redis.call('TIME')[1] / 86400)

local at = 5
local function metrics(number)
  local names = {}
  for _ = 1, number do
    at = at + 1
    names[#names + 1] = ARGV[at]
  end
  return names
end
local centre_counters, centre_gauges = metrics(ARGV[3]), metrics(ARGV[4])
local host_gauges = metrics(ARGV[5])

if ARGV[2] == '1' then
  redis.call('DEL', known)
  for i = at + 1, #ARGV do redis.call('SADD', known, ARGV[i]) end
end
local has_list = redis.call('EXISTS', known) == 1

local function put_aside(centre)
  local counted = {}
  for _, metric in ipairs(centre_counters) do
    local field = metric .. '|' .. centre
    local value = redis.call('HGET', counters, field)
    if value then
      redis.call('HDEL', counters, field)
      counted[#counted + 1] = metric .. ' ' .. value
    end
  end
  if redis.call('HLEN', cold) < MAX_COLD then
    redis.call('HSET', cold, centre, table.concat(counted, ' '))
  else
    for _, text in ipairs(counted) do
      local metric, value = string.match(text, '(%S+) (%d+)')
      add(counters, metric .. '|other', value)
    end
  end
  for _, metric in ipairs(centre_gauges) do redis.call('HDEL', gauges, metric .. '|' .. centre) end
end

local all, gone = redis.call('HGETALL', seen), 0
redis.call('DEL', series)
for i = 1, #all, 2 do
  local label = all[i]
  local centre = string.match(label, '^(.*)|')
  if day - tonumber(all[i + 1]) > days then
    redis.call('HDEL', seen, label)
    if not centre then put_aside(label) end
    for _, metric in ipairs(host_gauges) do
      redis.call('HDEL', gauges, metric .. '|' .. label .. (centre and '' or '|other'))
    end
    gone = gone + 1
  elseif centre then
    local is_known = not has_list or redis.call('SISMEMBER', known, centre) == 1
    add(series, is_known and '|hosts' or '|unknown hosts', 1)
    add(series, centre, 1)
  elseif redis.call('SISMEMBER', known, label) == 0 then
    add(series, '|unknown', 1)
  end
end
return gone
