-- Hand a consumer the messages that it owns and does not know: from before a restart, or from a
-- lost reply.
--
-- (the loader puts lanes.lua before this)
-- ARGV[1]  group
-- ARGV[2]  consumer
-- ARGV[3]  how many at most (>= 1)
-- ARGV[4…] messages that the consumer knows it owns: 'lane.id', with lanes from 0
-- Returns  {1 when there may be more, else 0,
--           lane.id, envelope, deliveries, lane.id, envelope, deliveries, …}

local group, consumer, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3])
local PAGE = 100

local known = {}
for i = 4, #ARGV do
  known[ARGV[i]] = true
end

local answer = {0}
local count = 0
for lane = 1, LANES do
  local stream, start = KEYS[lane], '-'
  while true do
    local page = redis.pcall('XPENDING', stream, group, start, '+', PAGE, consumer)
    if page.err then
      break -- No group: nobody owns a message. The next receive shows other errors.
    end
    for _, entry in ipairs(page) do
      local id, deliveries = entry[1], entry[4]
      local name = (lane - 1) .. '.' .. id
      if not known[name] then
        if count >= wanted then
          answer[1] = 1
          return answer
        end
        -- If the entry itself is gone, this answers nothing and forgets the delivery.
        local claimed = redis.call('XCLAIM', stream, group, consumer, 0, id)
        if claimed[1] then
          count = count + 1
          local fields = claimed[1][2]
          answer[#answer + 1] = name
          answer[#answer + 1] = fields[1] == 'e' and fields[2] or ''
          answer[#answer + 1] = deliveries + 1
        end
      end
    end
    if #page < PAGE then
      break
    end
    start = '(' .. page[PAGE][1]
  end
end
return answer
