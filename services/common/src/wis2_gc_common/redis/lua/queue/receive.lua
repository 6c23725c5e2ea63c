-- Hand messages to a consumer: first those whose visibility has ended, then those to work on at
-- once, then bulk. Each bulk lane that is not empty gets the same share of the number asked for.
-- Delayed messages that are due become new ones first. Never blocks.
--
-- (the loader puts lanes.lua before this)
-- KEYS[LANES + 1]  delayed
-- ARGV[1]  group
-- ARGV[2]  consumer
-- ARGV[3]  how many at most (>= 1)
-- ARGV[4]  how many of the bulk lanes at most
-- ARGV[5]  visibility in ms
-- ARGV[6]  where to continue the search for messages to take over (0-0: start); '' : do not search
-- ARGV[7]  ms after which an idle consumer that owns nothing is forgotten; '' : never
-- Returns  {ms until the next delayed message is due (-1: none),
--           where to continue the search ('0-0': it is complete),
--           lane.id, envelope, deliveries, lane.id, envelope, deliveries, …}, lanes from 0
--           An entry that is not ours has '' as its envelope.

-- How many delayed messages become due in one call: bounds the time that Redis spends here.
local MAX_PROMOTED = 200
-- How many times one call continues the search in a lane: each time Redis reads at most ten times
-- as many entries as are asked for.
local MAX_LOOKS = 4

local delayed, group, consumer = KEYS[LANES + 1], ARGV[1], ARGV[2]
local left, left_bulk = tonumber(ARGV[3]), tonumber(ARGV[4])
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

-- Also after FLUSHALL: a new group starts at the first entry of the stream.
local function in_group(stream, ...)
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
  append(envelope)
  redis.call('ZREM', delayed, envelope)
end

local answer = {-1, '0-0'}
local function hand_out(lane, id, fields, deliveries)
  left = left - 1
  if lane > 1 then
    left_bulk = left_bulk - 1
  end
  answer[#answer + 1] = (lane - 1) .. '.' .. id
  answer[#answer + 1] = envelope_of(fields)
  answer[#answer + 1] = deliveries
end

-- Return how many more messages of this lane may be handed out.
local function room(lane)
  return lane == 1 and left or math.min(left, left_bulk)
end

-- Take over messages whose visibility has ended, lane by lane; return where to continue.
local function look(from)
  local first, cursor = string.match(from, '^(%d+) (.+)$')
  cursor = cursor or '0-0'
  for lane = tonumber(first or 1), LANES do
    local stream, looks = KEYS[lane], 0
    repeat
      if room(lane) < 1 or looks == MAX_LOOKS then
        return lane .. ' ' .. cursor
      end
      looks = looks + 1
      local claimed = in_group(
        stream, 'XAUTOCLAIM', stream, group, consumer, ARGV[5], cursor, 'COUNT', room(lane))
      cursor = claimed[1]
      for _, entry in ipairs(claimed[2]) do
        local pending = redis.call('XPENDING', stream, group, entry[1], entry[1], 1)
        hand_out(lane, entry[1], entry[2], pending[1][4])
      end
    until cursor == '0-0'
  end
  return '0-0'
end

local function forget_idle(limit)
  for lane = 1, LANES do
    -- No group yet: no consumers either.
    local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[lane], group)
    for _, fields in ipairs(consumers) do
      local facts = {}
      for i = 1, #fields, 2 do
        facts[fields[i]] = fields[i + 1]
      end
      if facts.pending == 0 and facts.idle > limit and facts.name ~= consumer then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[lane], group, facts.name)
      end
    end
  end
end

local function read(lane, count)
  local stream = KEYS[lane]
  local reply = in_group(
    stream, 'XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  if reply then
    for _, entry in ipairs(reply[1][2]) do
      hand_out(lane, entry[1], entry[2], 1)
    end
  end
end

if ARGV[6] ~= '' then
  answer[2] = look(ARGV[6])
end
if ARGV[7] ~= '' then
  forget_idle(tonumber(ARGV[7]))
end

if left > 0 then
  read(1, left)
end
if room(2) > 0 then
  local busy = {}
  -- If there are more lanes than room, each time another lane comes first.
  local start = tonumber(time[2])
  for i = 0, LANES - 2 do
    local lane = 2 + (start + i) % (LANES - 1)
    if redis.call('XLEN', KEYS[lane]) > 0 then
      busy[#busy + 1] = lane
    end
  end
  -- In the first round each lane gets its share; in the second, those with more get the rest.
  for round = 1, 2 do
    for i, lane in ipairs(busy) do
      if room(lane) > 0 then
        read(lane, round == 1 and math.ceil(room(lane) / (#busy - i + 1)) or room(lane))
      end
    end
  end
end

local first = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if first[2] then
  answer[1] = math.max(0, tonumber(first[2]) - now)
end
return answer
