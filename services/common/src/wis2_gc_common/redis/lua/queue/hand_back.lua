-- Make each message that a consumer owns a new message of its lane, and forget the consumer.
--
-- (the loader puts lanes.lua before this)
-- ARGV[1]  group
-- ARGV[2]  consumer
-- Returns  how many messages were handed back.

local group, consumer = ARGV[1], ARGV[2]
local PAGE = 100

local count = 0
for lane = 1, LANES do
  local stream = KEYS[lane]
  while true do
    local page = redis.pcall('XPENDING', stream, group, '-', '+', PAGE, consumer)
    if page.err then
      break -- no group: nobody owns a message here
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
      break
    end
  end
end
return count
