-- Set what a centre may hold, and forget what is no longer held.
-- KEYS  1 held  2 its slots
-- ARGV  1 length of a slot in ms  2 how many slots count besides the running one
--       3 most items of a centre, "" for no limit  4 the same in bytes
-- Answers 1
--
-- An item only adds to its centre's sum. Once in a slot of time, the amount added to each sum since
-- the last time is stored under the slot that has just ended; the amounts of slots that are too old
-- are subtracted.
local held, slots = KEYS[1], KEYS[2]
for i, field in ipairs({ METRIC.QUOTA_ITEMS, METRIC.QUOTA_BYTES }) do
  if ARGV[2 + i] == '' then
    redis.call('HDEL', held, field)
  else
    redis.call('HSET', held, field, ARGV[2 + i])
  end
end

local slot = math.floor(now_ms() / ARGV[1])
local last = redis.call('HGET', held, 'slot') or tostring(slot)
redis.call('HSET', held, 'slot', slot)
if last == tostring(slot) then return 1 end

local counted, live, all = {}, {}, redis.call('HGETALL', slots)
for i = 1, #all, 2 do
  local at, field = string.match(all[i], '^(%d+)|(.*)$')
  counted[field] = (counted[field] or 0) + all[i + 1]
  if slot - at > tonumber(ARGV[2]) then
    redis.call('HDEL', slots, all[i])
  else
    live[field] = (live[field] or 0) + all[i + 1]
  end
end
local sums = redis.call('HGETALL', held)
for i = 1, #sums, 2 do
  local field = sums[i]
  if string.find(field, '|', 1, true) then
    local come = math.max(0, sums[i + 1] - (counted[field] or 0))
    local sum = come + (live[field] or 0)
    if come > 0 then add(slots, last .. '|' .. field, string.format('%.0f', come)) end
    if sum > 0 then
      redis.call('HSET', held, field, string.format('%.0f', sum))
    else
      redis.call('HDEL', held, field)
    end
  end
end
return 1
