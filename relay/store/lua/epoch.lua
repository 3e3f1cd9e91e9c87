-- Begin: take the epoch that is here, or the one given where there is none (or where a rollback ends this one), and set
-- this instance's counter. Answers the epoch. Runs before the fence stands; nothing else does.
local instance, confirmed, from, to = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local here = redis.call('GET', KEYS[1] .. 'epoch')
if not here or here == from then
  redis.call('SET', KEYS[1] .. 'epoch', to)
  here = to
end
redis.call('HSET', KEYS[1] .. 'beat', instance, confirmed)
return here
