-- Shared by the scripts that count per centre and data server; the loader puts it after record.lua.
-- Names come from strangers: above these numbers the label is "other". Centres in the list of known
-- ones always have a label; the others share the rest.
-- `keys`: series, seen, known, cold, counters; registry_keys.py describes them.
local MAX_UNKNOWN_CENTRES, MAX_UNKNOWN_BESIDE_KNOWN = 600, 100
local MAX_HOSTS, MAX_HOSTS_OF_UNKNOWN = 1000, 300
local MAX_HOSTS_OF_A_CENTRE, MAX_HOSTS_OF_AN_UNKNOWN = 100, 10
local MAX_CENTRE_CHARS, MAX_HOST_CHARS = 64, 128

local function today() return math.floor(redis.call('TIME')[1] / 86400) end

-- Record that a label is in use; false if it is new.
local function is_seen(keys, label, day)
  local at = redis.call('HGET', keys.seen, label)
  if at and tonumber(at) ~= day then redis.call('HSET', keys.seen, label, day) end
  return at and true or false
end

local function bounded_centre(keys, centre)
  local day = today()
  if is_seen(keys, centre, day) then return centre end
  if redis.call('SISMEMBER', keys.known, centre) == 0 then
    local most = redis.call('EXISTS', keys.known) == 1 and MAX_UNKNOWN_BESIDE_KNOWN
      or MAX_UNKNOWN_CENTRES
    local unknown = tonumber(redis.call('HGET', keys.series, '|unknown') or 0)
    if centre == 'other' or #centre > MAX_CENTRE_CHARS or unknown >= most then return 'other' end
    add(keys.series, '|unknown', 1)
  end
  redis.call('HSET', keys.seen, centre, day)
  -- It comes back after a long silence and continues its counters.
  local counted = redis.call('HGET', keys.cold, centre)
  if counted then
    for metric, value in string.gmatch(counted, '(%S+) (%d+)') do
      add(keys.counters, metric .. '|' .. centre, value)
    end
    redis.call('HDEL', keys.cold, centre)
  end
  return centre
end

-- `centre`: a bounded label. "" stays "": a link without a host has no series.
local function bounded_host(keys, centre, host)
  if host == '' then return '' end
  local label, day = centre .. '|' .. host, today()
  if is_seen(keys, label, day) then return host end
  local most, most_of_centre, group = MAX_HOSTS, MAX_HOSTS_OF_A_CENTRE, '|hosts'
  if redis.call('EXISTS', keys.known) == 1
      and redis.call('SISMEMBER', keys.known, centre) == 0 then
    most, most_of_centre, group = MAX_HOSTS_OF_UNKNOWN, MAX_HOSTS_OF_AN_UNKNOWN, '|unknown hosts'
  end
  local counts = redis.call('HMGET', keys.series, group, centre)
  if centre == 'other' or #host > MAX_HOST_CHARS or tonumber(counts[1] or 0) >= most
      or tonumber(counts[2] or 0) >= most_of_centre then
    return 'other'
  end
  add(keys.series, group, 1)
  add(keys.series, centre, 1)
  redis.call('HSET', keys.seen, label, day)
  return host
end
