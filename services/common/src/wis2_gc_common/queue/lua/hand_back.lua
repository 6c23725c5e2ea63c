-- Make everything a consumer owns a new message, and forget the consumer.
--
-- KEYS[1]  stream
-- ARGV[1]  group
-- ARGV[2]  consumer
-- Returns  how many messages were handed back.

local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local PAGE = 100

local count = 0
while true do
  local page = redis.pcall('XPENDING', stream, group, '-', '+', PAGE, consumer)
  if page.err then
    return count
  end
  for _, entry in ipairs(page) do
    local id = entry[1]
    local found = redis.call('XRANGE', stream, id, id)
    if found[1] then
      redis.call('XADD', stream, '*', unpack(found[1][2]))
      redis.call('XDEL', stream, id)
      count = count + 1
    end
    redis.call('XACK', stream, group, id)
  end
  if #page < PAGE then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
    return count
  end
end
