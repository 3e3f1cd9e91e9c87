-- Read only: blobs by their ids after one, id and size in turn.
local found = {}
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1] .. 'blobs', from, '+', 'LIMIT', 0, ARGV[2])) do
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[1] .. 'blob:' .. id, 'size')
end
return found
