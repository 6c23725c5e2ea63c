-- Note deletions that have come and are still to be worked on, so that what is published again after
-- them is no repeat of what they delete, in whatever order the queue hands these out.
-- KEYS  records
-- ARGV  1 TTL of records in s  2… pubtime of each deletion
-- Answers 1
local now = now_ms()
for i = 1, #KEYS do
  local key, pubtime = KEYS[i], ARGV[1 + i]
  local s, p, z, d = unpack(redis.call('HMGET', key, 's', 'p', 'z', 'd'), 1, 4)
  if s and is_forgotten(z, now, ARGV[1]) then s = false end
  if against_finished('deletion', pubtime, now, 0, s, p, tonumber(z or 0), d) == 'delete' then
    note_deletion(key, d, pubtime, now)
    if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, ARGV[1]) end
  end
end
return 1
