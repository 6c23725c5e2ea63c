-- The loader puts this before every script that finds the lane of a message, or reads the lanes.
--
-- (the loader sets LANES, the number of lanes, before this)
-- KEYS[1…LANES]  one stream for each lane: first what is worked on at once, then the bulk lanes

-- Return the number, from 1, of an envelope's lane: its last byte (`envelope_bytes.py`). Envelopes
-- older than the lanes end with a letter or digit, and belong to the first lane.
local function lane_of(envelope)
  local last = string.byte(envelope, -1)
  return last and last < LANES and last + 1 or 1
end

local function append(envelope)
  redis.call('XADD', KEYS[lane_of(envelope)], '*', 'e', envelope)
end
