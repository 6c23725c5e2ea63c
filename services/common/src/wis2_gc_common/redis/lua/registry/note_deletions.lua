-- Record deletions that have arrived and are not processed yet. A version published after a
-- deletion is then not a repeat of the deleted one, in any order in which the queue delivers the two.
-- If a centre has as many items as it may have, deletions of items not held are not recorded.
-- KEYS  1 known  2 held  3… records
-- ARGV  1 TTL of records in s  then per record: pubtime of the deletion, centre-id as a label
-- Answers 1
local now = now_ms()
for i = 1, #KEYS - 2 do
  local key, pubtime, centre = KEYS[2 + i], ARGV[2 * i], ARGV[2 * i + 1]
  local s, p, z, d = unpack(redis.call('HMGET', key, 's', 'p', 'z', 'd'), 1, 4)
  if s and is_forgotten(z, now, ARGV[1]) then s = false end
  if against_finished('deletion', pubtime, now, 0, s, p, tonumber(z or 0), d) == 'delete'
      and (redis.call('EXISTS', key) == 1
           or room_of(KEYS[2], quota_label(KEYS[1], KEYS[2], centre)) > 0) then
    note_deletion(key, d, pubtime, now)
    if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, ARGV[1]) end
  end
end
return 1
