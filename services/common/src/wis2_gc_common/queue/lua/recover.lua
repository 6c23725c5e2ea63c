-- Hand a consumer what it owns without knowing: messages of its former life, or of a lost reply.
--
-- KEYS[1]  stream
-- ARGV[1]  group
-- ARGV[2]  consumer
-- ARGV[3]  how many at most (>= 1)
-- ARGV[4…] ids that the consumer knows it owns
-- Returns  {1 when there may be more, else 0,
--           id, envelope, deliveries, id, envelope, deliveries, …}

local stream, group, consumer, wanted = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local PAGE = 100

local known = {}
for i = 4, #ARGV do
  known[ARGV[i]] = true
end

local answer = {0}
local count = 0
local start = '-'
while true do
  local page = redis.pcall('XPENDING', stream, group, start, '+', PAGE, consumer)
  if page.err then
    -- No group: nobody owns anything. Any other error shows when messages are asked for next.
    return answer
  end
  for _, entry in ipairs(page) do
    local id, deliveries = entry[1], entry[4]
    if not known[id] then
      if count >= wanted then
        answer[1] = 1
        return answer
      end
      -- Answers nothing, and forgets the delivery, where the entry itself is gone.
      local claimed = redis.call('XCLAIM', stream, group, consumer, 0, id)
      if claimed[1] then
        count = count + 1
        local fields = claimed[1][2]
        answer[#answer + 1] = id
        answer[#answer + 1] = fields[1] == 'e' and fields[2] or ''
        answer[#answer + 1] = deliveries + 1
      end
    end
  end
  if #page < PAGE then
    return answer
  end
  start = '(' .. page[PAGE][1]
end
