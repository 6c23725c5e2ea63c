-- Count a failed source; the item stays claimed.
-- KEYS  1 record  2 failures of this version  3 counters  4 gauges  5 series  6 seen
--       7 known  8 cold  9 held
-- ARGV  1 attempt  2 digest of the message id  3 kind  4 centre-id label
--       5 data server label, or ""  6 reason  7 TTL of records in s
--       8 label of its quota
-- Answers 1 for the first failure of its notification; 0 otherwise, or when the lease is lost
--
-- Key 2 is a hash: digest → attempt and reason of the first failure; digest:reason → newest attempt
-- in which it was counted. So a resend counts nothing, and a notification counts once, however many
-- times it is tried.
local MAX_FIELDS, FIELDS_OF_AN_ITEM = 1000, 8
local attempt, message, kind, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
if not is_holder(KEYS[1], attempt) then return 0 end

local source = message .. ':' .. reason
local counted = redis.call('HMGET', KEYS[2], message, source)
local first, this = counted[1], attempt .. ' ' .. reason
if counted[2] == attempt then return first == this and 1 or 0 end

add(KEYS[3], METRIC.SOURCE_FAILURES .. '|' .. reason, 1)
local labels = {
  series = KEYS[5], seen = KEYS[6], known = KEYS[7], cold = KEYS[8], counters = KEYS[3],
}
local centre = bounded_centre(labels, ARGV[4])
local host = bounded_host(labels, centre, ARGV[5])
if host ~= '' then
  redis.call('HSET', KEYS[4], METRIC.DATASERVER_STATUS .. '|' .. centre .. '|' .. host, 0)
end
local fields = redis.call('HLEN', KEYS[2])
if fields >= MAX_FIELDS then return 0 end
-- A few of these fields take as much memory as an item, and count as one.
if fields % FIELDS_OF_AN_ITEM >= FIELDS_OF_AN_ITEM - 2 then
  add(KEYS[9], METRIC.HELD_ITEMS .. '|' .. ARGV[8], 1)
end
redis.call('HSET', KEYS[2], source, attempt)
redis.call('EXPIRE', KEYS[2], ARGV[7])
if first then return 0 end

redis.call('HSET', KEYS[2], message, this)
local metric = kind == 'integrity' and METRIC.INTEGRITY_FAILED or METRIC.DOWNLOADED_ERRORS
add(KEYS[3], metric .. '|' .. centre, 1)
return 1
