-- Hand messages to a consumer: first those whose consumer let their visibility end, then new ones.
-- Delayed messages that are due become new ones before. Never blocks.
--
-- KEYS[1]  stream
-- KEYS[2]  delayed
-- ARGV[1]  group
-- ARGV[2]  consumer
-- ARGV[3]  how many at most (>= 1)
-- ARGV[4]  visibility in ms
-- ARGV[5]  where to go on looking for messages to take over (0-0: from the start); '' : do not look
-- ARGV[6]  ms after which an idle consumer that owns nothing is forgotten; '' : none is
-- Returns  {ms until the next delayed message is due (-1: none),
--           where to go on looking ('0-0': all was looked through),
--           id, envelope, deliveries, id, envelope, deliveries, …}
--           An entry that is not ours has '' as its envelope.

-- How many delayed messages become due in one call: bounds the time Redis spends in here.
local MAX_PROMOTED = 200
-- How often one call goes on looking: each time Redis looks at ten times ARGV[3] entries at most.
local MAX_LOOKS = 4

local stream, delayed, group, consumer = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local wanted = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function envelope_of(fields)
  for i = 1, #fields, 2 do
    if fields[i] == 'e' then
      return fields[i + 1]
    end
  end
  return ''
end

-- Also after FLUSHALL: the group is made anew and starts at the first entry there is.
local function in_group(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'NOGROUP', 1, true) then
    redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    reply = redis.pcall(...)
  end
  if type(reply) == 'table' and reply.err then
    error(reply)
  end
  return reply
end

local due = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, MAX_PROMOTED)
for _, envelope in ipairs(due) do
  redis.call('XADD', stream, '*', 'e', envelope)
  redis.call('ZREM', delayed, envelope)
end

local answer = {-1, '0-0'}
local count = 0
local function hand_out(id, fields, deliveries)
  count = count + 1
  answer[#answer + 1] = id
  answer[#answer + 1] = envelope_of(fields)
  answer[#answer + 1] = deliveries
end

if ARGV[5] ~= '' then
  local cursor = ARGV[5]
  for _ = 1, MAX_LOOKS do
    local claimed = in_group(
      'XAUTOCLAIM', stream, group, consumer, ARGV[4], cursor, 'COUNT', wanted - count)
    cursor = claimed[1]
    for _, entry in ipairs(claimed[2]) do
      local pending = redis.call('XPENDING', stream, group, entry[1], entry[1], 1)
      hand_out(entry[1], entry[2], pending[1][4])
    end
    if cursor == '0-0' or count >= wanted then
      break
    end
  end
  answer[2] = cursor
end

if ARGV[6] ~= '' then
  local limit = tonumber(ARGV[6])
  -- No group yet: then there are no consumers either.
  local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, group)
  for _, fields in ipairs(consumers) do
    local facts = {}
    for i = 1, #fields, 2 do
      facts[fields[i]] = fields[i + 1]
    end
    if facts.pending == 0 and facts.idle > limit and facts.name ~= consumer then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, facts.name)
    end
  end
end

if count < wanted then
  local reply = in_group(
    'XREADGROUP', 'GROUP', group, consumer, 'COUNT', wanted - count, 'STREAMS', stream, '>')
  if reply then
    for _, entry in ipairs(reply[1][2]) do
      hand_out(entry[1], entry[2], 1)
    end
  end
end

local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if first[2] then
  answer[1] = math.max(0, tonumber(first[2]) - now)
end
return answer
