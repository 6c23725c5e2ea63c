-- Shared by the scripts that touch records; the loader puts it in front of them.
-- The fields of a record are described in keys.py.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Nanoseconds do not fit a double: decimal strings without leading zeros, by length, then text.
local function is_later(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Only the newest fence of the owner that claimed it, whether or not the lease has run out:
-- nobody else has taken the item yet. The owner counts too, because a failover may lose the
-- last claims and hand out a fence a second time.
local function is_holder(key, fence, owner)
  local held = redis.call('HMGET', key, 'f', 'o')
  return held[1] == fence and held[2] == owner
end
