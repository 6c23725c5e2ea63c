-- Read what is held of several items; changes nothing.
-- KEYS  records
-- Answers per record six entries: state, pubtime and centre-id of the finished version, pubtime
-- and centre-id of the version under a live lease, pubtime of a deletion that has come and is not
-- finished; nil where there is none
local now, answers = now_ms(), {}
for i = 1, #KEYS do
  local r = redis.call('HMGET', KEYS[i], 's', 'p', 'c', 'v', 'l', 'f', 'a', 'd')
  local at = 6 * i - 6
  -- A record that has but failed is a record, though nothing of it is finished.
  answers[at + 1] = r[1] or (r[6] and '' or false)
  answers[at + 2] = r[2]
  answers[at + 3] = r[3]
  local is_running = r[5] and tonumber(r[5]) > now
  answers[at + 4] = is_running and r[4]
  answers[at + 5] = is_running and r[7]
  answers[at + 6] = r[8]
end
return answers
