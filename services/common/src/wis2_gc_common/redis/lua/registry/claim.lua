-- Decide on a notification and take the item if it is granted (decision.py, wis2-rules.md 6 to 10, 14).
-- KEYS  1 message id  2 record  3 its parked sources of this version  4 known  5 held
-- ARGV  1 rel  2 pubtime  3 digest of the message id  4 item token  5 owner  6 worker  7 attempt
--       8 source  9 lease in ms  10 TTL of records in s  11 TTL of message ids in s
--       12 most parked sources  13 window of repeats in ms  14 centre-id of the topic as a label
--       15 most bytes of parked sources
-- Answers {decision, hour's second, parked, ms to wait, object key of the finished version, items and
-- bytes that the centre may still hold, label of that quota}
local rel, pubtime, message, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local owner, worker, attempt = ARGV[5], ARGV[6], ARGV[7]
local key, parked_key = KEYS[2], KEYS[3]
local KEEP_HOUR_S = 3600

local function object_key()
  local pieces = {}
  while true do
    local piece = redis.call('HGET', key, #pieces)
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

local now = now_ms()
local r = redis.call('HMGET', key, 's', 'p', 'z', 'd', 'v', 'o', 'w', 'l', 'f', 't', 'm', 'n')
local s, p, z, d, v, o, w, l, f, t, m, n = unpack(r, 1, 12)
if s and is_forgotten(z, now, ARGV[10]) then s = false end
local is_running = o and tonumber(l or 0) > now
local is_same_version = v == pubtime

local decision = against_finished(rel, pubtime, now, tonumber(ARGV[13]), s, p, tonumber(z or 0), d)
if decision == 'duplicate' or decision == 'stale' or decision == 'repeat' then
  -- Sources of a version that nobody will process.
  if not (is_running and is_same_version) then redis.call('DEL', parked_key) end
  return { decision, 0, 0, 0, '', 0, 0, '' }
end

local processed = redis.call('GET', KEYS[1])
if processed and processed ~= token then return { 'duplicate_id', 0, 0, 0, '', 0, 0, '' } end

-- The same worker repeats the call after a lost answer, or after its own crash.
local is_own = is_running and is_same_version and o == owner and w == worker
if is_running and not is_own then
  if not is_same_version or o == owner then
    -- Waiting messages come back in any order: compare a newer notification with this deletion.
    if rel == 'deletion' then note_deletion(key, d, pubtime, now) end
    return { 'wait', 0, 0, tonumber(l) - now, '', 0, 0, '' }
  end
  local parked = redis.call('HLEN', parked_key)
  -- A copy of the holder's own notification offers no other source.
  if m ~= message and parked < tonumber(ARGV[12]) then
    local size = #ARGV[8]
    for _, source in ipairs(redis.call('HVALS', parked_key)) do size = size + #source - 2 end
    if size <= tonumber(ARGV[15])
        and redis.call('HSETNX', parked_key, message, string.format('%02d', parked) .. ARGV[8]) == 1
    then
      parked = parked + 1
      redis.call('EXPIRE', parked_key, ARGV[10])
    end
  end
  return { 'busy', 0, parked, 0, '', 0, 0, '' }
end

local label = quota_label(KEYS[4], KEYS[5], ARGV[14])
local items_left, bytes_left = room_of(KEYS[5], label)
local since, attempts = tonumber(t or 0), 1
if is_same_version then attempts = tonumber(n or 0) + 1 end
if is_own and f == attempt then
  attempts, items_left = tonumber(n or 1), UNBOUNDED
elseif is_same_version and math.floor(now / 1000) - since < KEEP_HOUR_S then
  -- An item whose attempt began less than an hour ago keeps its folder: its object is overwritten.
  items_left = UNBOUNDED
else
  if items_left <= 0 and not (s or v or d) then return { 'over_quota', 0, 0, 0, '', 0, 0, '' } end
  since = math.floor(now / 1000)
  add(KEYS[5], METRIC.HELD_ITEMS .. '|' .. label, 1)
end
redis.call('HSET', key, 'v', pubtime, 'o', owner, 'w', worker, 'l', now + ARGV[9], 'm', message,
           't', since, 'f', attempt, 'n', attempts)
if rel == 'deletion' then note_deletion(key, d, pubtime, now) end
if (v or p) and not is_same_version then redis.call('HDEL', key, 'e') end
redis.call('EXPIRE', key, ARGV[10])
redis.call('SET', KEYS[1], token, 'EX', ARGV[11])
local parked = redis.call('HLEN', parked_key)
if parked > 0 then redis.call('EXPIRE', parked_key, ARGV[10]) end
return { decision, since, parked, 0, s == 'd' and object_key() or '', items_left, bytes_left, label }
