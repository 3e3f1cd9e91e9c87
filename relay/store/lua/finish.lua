-- Note what came of an attempt, if its lease still counts: the attempt's number is the fence.
local id, attempt, state, result, not_before = take(), take(), take(), take(), take()
local page = key('p:' .. id)
local there = redis.call('HMGET', page, 'state', 'attempt', 'msg', 'rank')
if there[1] ~= 'leased' or there[2] ~= attempt then return 0 end
if state == 'ready' and tonumber(redis.call('HGET', key('m:' .. there[3]), 'open') or '0') == 0 then
  state = 'cancelled'
end
redis.call('HSET', page, 'state', state, 'result', result, 'not_before', not_before)
if state == 'ready' then
  redis.call('ZADD', key('ready' .. there[4]), not_before, id)
elseif state == 'leased' then
  redis.call('ZADD', key('ready' .. there[4]), redis.call('HGET', page, 'lease_until'), id)
else
  redis.call('ZREM', key('ready' .. there[4]), id)
end
count('pages_leased', -1)
count('pages_' .. state, 1)
return 1
