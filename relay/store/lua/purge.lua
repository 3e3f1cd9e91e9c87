-- Delete what is past its date: envelopes first, then prekeys, then pages. Answers what went, so that journals follow.
local now, prekeys_until, pages_until, limit = take(), take(), take(), number()
local gone = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key('drop'), '-inf', now, 'LIMIT', 0, limit)) do
  local msg = string.sub(member, 17)
  redis.call('DEL', key('e:' .. msg))
  redis.call('HSET', key('m:' .. msg), 'drop', '-')
  redis.call('ZREM', key('drop'), member)
  for _, id in ipairs(redis.call('SMEMBERS', key('named:' .. msg))) do
    redis.call('ZREM', key('uses:' .. id), msg)
    if redis.call('ZCARD', key('uses:' .. id)) == 0 then
      redis.call('ZADD', key('idle'), redis.call('HGET', key('blob:' .. id), 'since'), id)
    end
  end
  redis.call('DEL', key('named:' .. msg))
  gone[#gone + 1] = msg
end
count('envelopes', -#gone)
local purged = #gone
for _, member in ipairs(redis.call('ZRANGEBYSCORE', key('prekeys'), '-inf', prekeys_until, 'LIMIT', 0, limit - purged)) do
  redis.call('HDEL', key('prekeys:' .. string.sub(member, 65)), string.sub(member, 1, 64))
  redis.call('ZREM', key('prekeys'), member)
  purged = purged + 1
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('page_end'), '-inf', pages_until, 'LIMIT', 0, limit - purged)) do
  local there = redis.call('HMGET', key('p:' .. id), 'state', 'msg', 'rank')
  redis.call('ZREM', key('ready' .. there[3]), id)
  redis.call('SREM', key('pages:' .. there[2]), id)
  redis.call('DEL', key('p:' .. id))
  redis.call('ZREM', key('page_end'), id)
  count('pages_' .. there[1], -1)
  purged = purged + 1
end
table.insert(gone, 1, whole(purged))
return gone
