-- Shared by the scripts that use records; the loader puts it before them.
-- registry_keys.py describes the fields of a record.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Only the newest attempt, even if its lease has run out: nobody else has taken the item.
local function is_holder(key, attempt)
  local held = redis.call('HMGET', key, 'f', 'o')
  return held[1] == attempt and held[2] and true or false
end

-- A finished version is forgotten after the TTL of records, because its object has expired; failed
-- attempts since then may keep the record itself alive.
local function is_forgotten(z, now, memory_s)
  return now - tonumber(z or 0) > memory_s * 1000
end

-- A sum at its maximum stays there: it must not make the script fail that adds to it.
local function add(key, field, amount)
  local answer = redis.pcall('HINCRBY', key, field, amount)
  if type(answer) ~= 'table' or not answer.err then return end
  if string.find(answer.err, 'overflow', 1, true) then
    redis.call('HSET', key, field, '9223372036854775807')
  elseif not string.find(answer.err, 'not an integer', 1, true) then
    redis.call('HINCRBY', key, field, amount)  -- an outage: the caller handles it
  end
end
