-- Forget blobs that no message needs and that were put long enough ago; answers their ids.
local before, limit = take(), number()
local gone = redis.call('ZRANGEBYSCORE', key('idle'), '-inf', before, 'LIMIT', 0, limit)
for _, id in ipairs(gone) do
  local size = redis.call('HGET', key('blob:' .. id), 'size')
  for _, desk in ipairs(redis.call('SMEMBERS', key('put:' .. id))) do
    redis.call('HINCRBY', key('quota'), desk, '-' .. size)
  end
  redis.call('DEL', key('blob:' .. id), key('put:' .. id), key('uses:' .. id))
  redis.call('ZREM', key('idle'), id)
  redis.call('ZREM', key('blobs'), id)
  count('blobs', -1)
  count('blob_bytes', -tonumber(size))
end
return gone
