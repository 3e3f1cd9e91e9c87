-- Replace the directory by a newer one; answers 1, or 0 if the one here is as new.
local version, pins = take(), take()
if tonumber(redis.call('HGET', key('directory'), 'version') or '-1') >= tonumber(version) then return 0 end
redis.call('DEL', key('files'))
redis.call('HSET', key('directory'), 'version', version, 'pins', pins)
for _ = 1, number() do redis.call('HSET', key('files'), take(), take()) end
redis.call('XADD', key('wake'), 'MAXLEN', '~', '10000', '*', 'by', instance, 'desk', '', 'seq', '0', 'msg', '')
return 1
