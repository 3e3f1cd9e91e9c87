-- Note that a desk has put a blob; answers 0 if one of this id is here with another size.
local id, size, desk, now = take(), take(), take(), take()
local blob = key('blob:' .. id)
local there = redis.call('HMGET', blob, 'size', 'since')
if there[1] and there[1] ~= size then return 0 end
if not there[1] then
  redis.call('HSET', blob, 'size', size)
  redis.call('ZADD', key('blobs'), 0, id)
  count('blobs', 1)
  count('blob_bytes', tonumber(size))
end
local since = math.max(tonumber(there[2] or '0'), tonumber(now))
redis.call('HSET', blob, 'since', whole(since))
if redis.call('ZCARD', key('uses:' .. id)) == 0 then redis.call('ZADD', key('idle'), whole(since), id) end
if redis.call('SADD', key('put:' .. id), desk) == 1 then
  redis.call('HINCRBY', key('quota'), desk, size)
end
return 1
