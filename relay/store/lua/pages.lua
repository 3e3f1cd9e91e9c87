-- Read only: a message's pages, id and hash in turn.
local found = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'pages:' .. ARGV[1])) do
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGETALL', KEYS[1] .. 'p:' .. id)
end
return found
