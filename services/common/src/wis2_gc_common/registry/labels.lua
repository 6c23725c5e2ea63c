-- Shared by the scripts that count per centre and data server; the loader puts it behind record.lua.
-- Names come from strangers: beyond these numbers a label reads "other".
local MAX_CENTRES = 5000
local MAX_HOSTS = 20000
local MAX_HOSTS_OF_A_CENTRE = 500

local function bounded_centre(series, centre)
  if redis.call('HEXISTS', series, centre) == 1 then return centre end
  if redis.call('HLEN', series) >= MAX_CENTRES then return 'other' end
  redis.call('HSET', series, centre, 0)
  return centre
end

-- "" stays "": a link without a host has no series.
local function bounded_host(series, gauges, centre, host)
  if host == '' then return '' end
  local flag = METRIC.DATASERVER_STATUS .. '|' .. centre .. '|' .. host
  if redis.call('HEXISTS', gauges, flag) == 1 then return host end
  local counts = redis.call('HMGET', series, '', centre)
  if tonumber(counts[1] or 0) >= MAX_HOSTS
      or tonumber(counts[2] or 0) >= MAX_HOSTS_OF_A_CENTRE then
    return 'other'
  end
  add(series, '', 1)
  add(series, centre, 1)
  return host
end
