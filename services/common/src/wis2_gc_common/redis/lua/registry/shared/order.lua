-- Shared by the scripts that compare versions; the loader puts it after record.lua.
-- The same rules as decision.py, which gives the reasons; a property test compares the two.
local FUTURE_TOLERANCE_MS = 300000
local WRONG_CLOCK_MS = 86400000

-- Nanoseconds do not fit a double: compare decimal strings (no leading zeros) by length, then text.
local function is_later(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

local function nanoseconds(ms) return string.format('%.0f000000', ms) end

local function is_in_future(pubtime, at_ms)
  return is_later(pubtime, nanoseconds(at_ms + FUTURE_TOLERANCE_MS))
end

local function trusted(pubtime, at_ms)
  return is_in_future(pubtime, at_ms) and nanoseconds(at_ms) or pubtime
end

local function is_later_version(pubtime, now, finished, finished_ms)
  if is_in_future(pubtime, now) and is_in_future(finished, finished_ms)
      and not is_later(finished, nanoseconds(finished_ms + WRONG_CLOCK_MS)) then
    return is_later(pubtime, finished)
  end
  return is_later(trusted(pubtime, now), trusted(finished, finished_ms))
end

-- s, p, z, d: fields of the record.
local function against_finished(rel, pubtime, now, window_ms, s, p, z, d)
  if s then
    if pubtime == p then return 'duplicate' end
    if not is_later_version(pubtime, now, p, z) then return 'stale' end
  end
  if rel == 'deletion' then return 'delete' end
  if s ~= 'd' then return 'new' end
  if rel == 'update' then return 'update' end
  if now - z >= window_ms then return 'new' end
  return d and is_later(trusted(pubtime, now), d) and 'new' or 'repeat'
end

-- Only the newest deletion counts: an older one is stale once that is done.
local function note_deletion(key, d, pubtime, now)
  local deleting = trusted(pubtime, now)
  if not d or is_later(deleting, d) then redis.call('HSET', key, 'd', deleting) end
end
