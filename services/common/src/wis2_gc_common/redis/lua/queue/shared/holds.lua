-- The loader puts this before every script that ends or extends a delivery: it must still be the
-- same delivery. A receipt is 'lane.id/deliveries', with lanes from 0. If the visibility has ended
-- and another worker, or the same one, has the message again, the owner or the count differs, and
-- the old receipt does nothing.
--
-- (the loader puts lanes.lua before this)
-- ARGV[1]  group
-- ARGV[2]  consumer

local group, consumer = ARGV[1], ARGV[2]

-- Return stream and id of the message, or nil when the receipt is no longer valid.
local function held(receipt)
  local lane, id, deliveries = string.match(receipt, '^(%d+)%.(%d+%-%d+)/(%d+)$')
  local stream = lane and tonumber(lane) < LANES and KEYS[lane + 1]
  local pending = stream and redis.pcall('XPENDING', stream, group, id, id, 1, consumer)
  if pending and not pending.err and pending[1] and pending[1][4] == tonumber(deliveries) then
    return stream, id
  end
  return nil
end

local function forget(stream, id)
  redis.call('XACK', stream, group, id)
  redis.call('XDEL', stream, id)
end
