-- Keep published prekeys; a known one is skipped.
for _ = 1, number() do
  local sid, desk, ends, row = take(), take(), take(), take()
  if redis.call('HSETNX', key('prekeys:' .. desk), sid, row) == 1 then
    redis.call('ZADD', key('prekeys'), ends, sid .. desk)
  end
end
redis.call('XADD', key('wake'), 'MAXLEN', '~', '10000', '*', 'by', instance, 'desk', '', 'seq', '0', 'msg', '')
return 1
