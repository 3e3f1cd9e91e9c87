-- Read only: the timers that are due, by (due, kind, subject): name, due, generation in turn.
local rows = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'due', '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local found = {}
for place = 1, #rows, 2 do
  found[#found + 1] = rows[place]
  found[#found + 1] = rows[place + 1]
  found[#found + 1] = redis.call('HGET', KEYS[1] .. 'generation', rows[place])
end
return found
