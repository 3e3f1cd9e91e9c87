-- Read only: the numbers that the other scripts keep.
return redis.call('HGETALL', KEYS[1] .. 'count')
