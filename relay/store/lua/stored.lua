-- Read only: what is known of a blob: size, since, desks, messages.
local id = ARGV[1]
local there = redis.call('HMGET', KEYS[1] .. 'blob:' .. id, 'size', 'since')
if not there[1] then return {} end
return {there[1], there[2], redis.call('SMEMBERS', KEYS[1] .. 'put:' .. id),
  redis.call('ZRANGE', KEYS[1] .. 'uses:' .. id, 0, -1)}
