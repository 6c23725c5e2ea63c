-- Read what is held of several items; changes nothing.
-- KEYS  records
-- ARGV  1 TTL of records in s
-- Answers Redis' clock in ms, then per record five entries: state, pubtime and time of the finished
-- version, pubtime of the version under a live lease, pubtime of a deletion that has arrived and is
-- not finished; nil for what does not exist
local now = now_ms()
local answers = { now }
for i = 1, #KEYS do
  local r = redis.call('HMGET', KEYS[i], 's', 'p', 'z', 'v', 'l', 'f', 'd')
  local at = 5 * i - 3
  local is_finished = r[1] and not is_forgotten(r[3], now, ARGV[1])
  -- A record with only failures counts as a record, although nothing is finished.
  answers[at] = is_finished and r[1] or ((r[6] or r[7]) and '' or false)
  answers[at + 1] = is_finished and r[2]
  answers[at + 2] = is_finished and r[3]
  answers[at + 3] = r[5] and tonumber(r[5]) > now and r[4]
  answers[at + 4] = r[7]
end
return answers
