-- Restart the visibility of deliveries.
--
-- (the loader puts holds.lua before this)
-- ARGV[3…] receipts
-- Returns  how many are still held.

local extended = 0
for i = 3, #ARGV do
  local stream, id = held(ARGV[i])
  if id then
    -- JUSTID does not change the number of deliveries: the receipt stays valid.
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
    extended = extended + 1
  end
end
return extended
