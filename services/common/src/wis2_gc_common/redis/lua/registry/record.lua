-- Shared by the scripts that touch records; the loader puts it in front of them.
-- The fields of a record are described in keys.py.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Only the newest attempt, whether or not its lease has run out: nobody else has taken the item yet.
local function is_holder(key, attempt)
  local held = redis.call('HMGET', key, 'f', 'o')
  return held[1] == attempt and held[2] and true or false
end

-- What is finished is forgotten after the memory of records, although attempts that fail since keep
-- the record itself alive: its object has expired.
local function is_forgotten(z, now, memory_s)
  return now - tonumber(z or 0) > memory_s * 1000
end

-- A sum that has come to its end stays there: it must not fail the script that adds to it.
local function add(key, field, amount)
  local answer = redis.pcall('HINCRBY', key, field, amount)
  if type(answer) ~= 'table' or not answer.err then return end
  if string.find(answer.err, 'overflow', 1, true) then
    redis.call('HSET', key, field, '9223372036854775807')
  elseif not string.find(answer.err, 'not an integer', 1, true) then
    redis.call('HINCRBY', key, field, amount)  -- an outage, which is for the caller
  end
end
