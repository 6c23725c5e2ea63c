-- Read what is held of several items; changes nothing.
-- KEYS  records
-- Answers per record four entries: state, pubtime and centre-id of the finished version, pubtime
-- of the version under a live lease; nil where there is none
local now, answers = now_ms(), {}
for i = 1, #KEYS do
  local r = redis.call('HMGET', KEYS[i], 's', 'p', 'c', 'v', 'l', 'f')
  local at = 4 * i - 4
  -- A record that has but failed is a record, though nothing of it is finished.
  answers[at + 1] = r[1] or (r[6] and '' or false)
  answers[at + 2] = r[2]
  answers[at + 3] = r[3]
  answers[at + 4] = r[5] and tonumber(r[5]) > now and r[4]
end
return answers
