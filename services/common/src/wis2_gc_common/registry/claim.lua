-- Decide on a notification and take the item when it is granted (decision.py, SPEC.md 8 to 10, 14).
-- KEYS  1 message id  2 record  3 its parked sources of this version
--       only for rel "deletion": 4 record of foreign deletions  5 its parked sources
-- ARGV  1 rel  2 pubtime  3 centre-id of the topic  4 digest of the message id
--       5 item token  6 item token of the foreign deletion  7 owner  8 worker  9 source
--       10 lease in ms  11 TTL of records in s  12 TTL of message ids in s  13 most parked sources
-- Answers {decision, 1 when on the foreign record, fence, hour's second, parked,
--          ms to wait, centre-id and object key of the finished version}
local rel, pubtime, centre, message = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local token, owner, worker = ARGV[5], ARGV[7], ARGV[8]
local KEEP_HOUR_S = 3600

local function against_finished(state, finished, finished_centre, deleting)
  if state == 'x' and finished_centre ~= centre then state = false end
  if state then
    if pubtime == finished then return 'duplicate' end
    if is_later(finished, pubtime) then return 'stale' end
  end
  if rel == 'deletion' then return 'delete' end
  if state ~= 'd' then return 'new' end
  if rel == 'update' then return 'update' end
  return deleting and is_later(pubtime, deleting) and 'new' or 'repeat'
end

local function object_key(key)
  local pieces = {}
  while true do
    local piece = redis.call('HGET', key, #pieces)
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

local function read(key)
  local r = redis.call('HMGET', key, 's', 'p', 'c', 'v', 'o', 'w', 'l', 'f', 't', 'm', 'n', 'a',
                       'd')
  return { s = r[1], p = r[2], c = r[3], v = r[4], o = r[5], w = r[6], l = r[7], f = r[8],
           t = r[9], m = r[10], n = r[11], a = r[12],
           d = r[13] }
end

local now = now_ms()
local key, parked_key, is_foreign = KEYS[2], KEYS[3], 0
local record = read(key)
if rel == 'deletion' and record.s == 'd' and record.c ~= centre then
  key, parked_key, is_foreign, token = KEYS[4], KEYS[5], 1, ARGV[6]
  record = read(key)
end
local is_running = record.o and tonumber(record.l) > now
local is_same_version = record.v == pubtime

-- The newest one counts: an older one is stale once that is done.
local function note_deletion()
  if rel == 'deletion' and not (record.d and is_later(record.d, pubtime)) then
    redis.call('HSET', key, 'd', pubtime)
  end
end

local decision = against_finished(record.s, record.p, record.c, record.d)
if decision == 'duplicate' or decision == 'stale' or decision == 'repeat' then
  -- Sources of a version that nobody will process any more.
  if not (is_running and is_same_version) then redis.call('DEL', parked_key) end
  return { decision, is_foreign, 0, 0, 0, 0, '', '' }
end

local processed = redis.call('GET', KEYS[1])
if processed and processed ~= token then
  return { 'duplicate_id', is_foreign, 0, 0, 0, 0, '', '' }
end

local is_resend = is_running and is_same_version and record.o == owner and record.w == worker
if is_running and not is_resend then
  -- Another centre's notification is no source of this item; it is decided when this is over.
  if not is_same_version or record.o == owner or record.a ~= centre then
    -- What waits comes back in any order: a newer notification is measured against it all the same.
    -- Not against another centre's deletion, which will have a record of its own.
    if record.a == centre then note_deletion() end
    return { 'wait', is_foreign, 0, 0, 0, tonumber(record.l) - now, '', '' }
  end
  local parked = redis.call('HLEN', parked_key)
  -- A copy of the holder's own notification has no other source to offer.
  if record.m ~= message and parked < tonumber(ARGV[13])
      and redis.call('HSETNX', parked_key, message, string.format('%02d', parked) .. ARGV[9]) == 1
  then
    parked = parked + 1
    redis.call('EXPIRE', parked_key, ARGV[11])
  end
  return { 'busy', is_foreign, 0, 0, parked, 0, '', '' }
end

local fence, since, attempts = tonumber(record.f or 0), tonumber(record.t or 0), 1
if is_same_version then attempts = tonumber(record.n or 0) + 1 end
if is_resend then
  attempts = tonumber(record.n)
else
  fence = fence + 1
  -- An attempt that began less than an hour ago keeps its folder: its object is overwritten.
  if not (is_same_version and math.floor(now / 1000) - since < KEEP_HOUR_S) then
    since = math.floor(now / 1000)
  end
end
redis.call('HSET', key, 'v', pubtime, 'o', owner, 'w', worker, 'l', now + ARGV[10], 'm', message,
           't', since, 'a', centre, 'f', fence, 'n', attempts)
note_deletion()
if record.f and not is_same_version then redis.call('HDEL', key, 'e') end
redis.call('EXPIRE', key, ARGV[11])
redis.call('SET', KEYS[1], token, 'EX', ARGV[12])
local parked = redis.call('HLEN', parked_key)
if parked > 0 then redis.call('EXPIRE', parked_key, ARGV[11]) end

local old_centre, old_key = '', ''
if record.s == 'd' then old_centre, old_key = record.c, object_key(key) end
return { decision, is_foreign, fence, since, parked, 0, old_centre, old_key }
