-- Read only: of the open messages after an arrival, a piece of them, those with fewer timers than they must have.
local after, rows = ARGV[1], ARGV[2]
local piece = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'open', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, rows)
local last, found = '0', {}
for place = 1, #piece, 2 do
  local msg = piece[place]
  local open = tonumber(redis.call('HGET', KEYS[1] .. 'm:' .. msg, 'open') or '0')
  if redis.call('SCARD', KEYS[1] .. 'armed:' .. msg) < open then found[#found + 1] = msg end
  last = piece[place + 1]
end
if #piece < 2 * tonumber(rows) then last = '0' end
table.insert(found, 1, last)
return found
