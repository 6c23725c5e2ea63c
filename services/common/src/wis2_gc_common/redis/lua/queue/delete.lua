-- Forget messages for good.
--
-- (the loader puts holds.lua before this)
-- ARGV[3…] receipts
-- Returns  how many were still held.

local deleted = 0
for i = 3, #ARGV do
  local stream, id = held(ARGV[i])
  if id then
    forget(stream, id)
    deleted = deleted + 1
  end
end
return deleted
