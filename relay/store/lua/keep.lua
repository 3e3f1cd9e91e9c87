-- Keep statements that change no state. Answers how many were not here yet.
local fresh = 0
for _ = 1, number() do
  local sid, kind, msg, wire, when = take(), take(), take(), take(), take()
  if redis.call('HSETNX', key('s:' .. sid), 'kind', kind) == 1 then
    redis.call('HSET', key('s:' .. sid), 'msg', msg, 'wire', wire, 'at', when)
    if msg ~= '' then redis.call('RPUSH', key('about:' .. msg), sid) end
    owe('s' .. sid)
    fresh = fresh + 1
  end
end
count('statements', fresh)
return fresh
