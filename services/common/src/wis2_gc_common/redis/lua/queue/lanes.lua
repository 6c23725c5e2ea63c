-- Put before every script that finds a message its lane, or looks into the lanes.
--
-- (LANES, the number of lanes, is put before)
-- KEYS[1…LANES]  one stream for each lane: what is to be worked on at once, then the bulk lanes

-- Return the number of the lane, from 1, of an envelope: it is its last byte (`codec`). Envelopes of
-- before there were lanes end with a letter or digit, and belong to the first.
local function lane_of(envelope)
  local last = string.byte(envelope, -1)
  return last and last < LANES and last + 1 or 1
end

local function append(envelope)
  redis.call('XADD', KEYS[lane_of(envelope)], '*', 'e', envelope)
end
