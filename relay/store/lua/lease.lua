-- Give pages that wait to a pager: emergencies first, then by (created, id). Of each priority no more than a thousand
-- that have waited longest are looked at, so that a flood costs a bounded script.
local now, until_, limit = take(), take(), number()
local leased, given = {}, 0
for rank = 0, 2 do
  local ready = key('ready' .. rank)
  local rows = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', ready, '-inf', now, 'LIMIT', 0, 1024)) do
    local page = redis.call('HMGET', key('p:' .. id), 'msg', 'created', 'state')
    if not page[1] then
      -- put in by a script that did not come to its end: it is tried again
    elseif page[3] ~= 'ready' and page[3] ~= 'leased' then
      redis.call('ZREM', ready, id)
    elseif tonumber(redis.call('HGET', key('m:' .. page[1]), 'open') or '0') == 0 then
      redis.call('ZREM', ready, id)
      redis.call('HSET', key('p:' .. id), 'state', 'cancelled')
      count('pages_' .. page[3], -1)
      count('pages_cancelled', 1)
    else
      rows[#rows + 1] = {id = id, created = tonumber(page[2]), state = page[3]}
    end
  end
  table.sort(rows, function(a, b)
    if a.created ~= b.created then return a.created < b.created end
    return a.id < b.id
  end)
  for _, one in ipairs(rows) do
    if given >= limit then break end
    given = given + 1
    local page = key('p:' .. one.id)
    if one.state == 'leased' then redis.call('HSET', page, 'result', 'unknown') end
    redis.call('HSET', page, 'state', 'leased', 'lease_until', until_)
    redis.call('HINCRBY', page, 'attempt', 1)
    redis.call('ZADD', ready, until_, one.id)
    count('pages_' .. one.state, -1)
    count('pages_leased', 1)
    leased[#leased + 1] = one.id
    leased[#leased + 1] = redis.call('HGETALL', page)
  end
end
return leased
