-- Shared by the scripts that hold centres to their quotas; the loader puts it after record.lua.
-- Each centre in the list of known ones has its own quota; all others share one, half as large.
-- Without a list each centre has its own, while there is room for its two sums.
local MAX_SUMS, MAX_CENTRE_BYTES = 1200, 64
local UNBOUNDED = 2 ^ 53

local function quota_label(known, held, centre)
  if redis.call('SISMEMBER', known, centre) == 1 then return centre end
  if #centre > MAX_CENTRE_BYTES or redis.call('EXISTS', known) == 1 then return 'other' end
  if redis.call('HEXISTS', held, METRIC.HELD_ITEMS .. '|' .. centre) == 1
      or redis.call('HLEN', held) < MAX_SUMS then
    return centre
  end
  return 'other'
end

-- Return how many more items and bytes a centre may hold. `label`: from quota_label.
local function room_of(held, label)
  local r = redis.call('HMGET', held, METRIC.QUOTA_ITEMS, METRIC.QUOTA_BYTES,
                       METRIC.HELD_ITEMS .. '|' .. label, METRIC.HELD_BYTES .. '|' .. label)
  local share = label == 'other' and 0.5 or 1
  return r[1] and math.floor(r[1] * share) - (r[3] or 0) or UNBOUNDED,
         r[2] and math.floor(r[2] * share) - (r[4] or 0) or UNBOUNDED
end
