-- Read only: the directory as one: version, pins, files.
local there = redis.call('HMGET', KEYS[1] .. 'directory', 'version', 'pins')
if not there[1] then return {} end
return {there[1], there[2], redis.call('HGETALL', KEYS[1] .. 'files')}
