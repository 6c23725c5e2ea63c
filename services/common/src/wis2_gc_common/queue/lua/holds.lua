-- Put before every script that ends or prolongs a delivery: it must still be this very delivery.
-- A receipt is 'id/deliveries'. Once the visibility has ended and another worker got the message,
-- or the same one again, the count or the owner differs, and the old receipt does nothing.
--
-- KEYS[1]  stream
-- ARGV[1]  group
-- ARGV[2]  consumer

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]

-- Return the id of the message, or nil when the receipt is worth nothing any more.
local function held_id(receipt)
  local id, deliveries = string.match(receipt, '^(%d+%-%d+)/(%d+)$')
  local pending = id and redis.pcall('XPENDING', stream, group, id, id, 1, consumer)
  if pending and not pending.err and pending[1] and pending[1][4] == tonumber(deliveries) then
    return id
  end
  return nil
end

local function forget(id)
  redis.call('XACK', stream, group, id)
  redis.call('XDEL', stream, id)
end
