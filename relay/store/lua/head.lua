-- Stands before every script that writes. KEYS[1] is the network's tag: every key begins with it, so that all of them
-- lie in one slot. ARGV begins with: instance, confirmed, now sent, epoch.
--
-- The fence: what this instance was told is durable must still be here (its counter), and nobody may have begun a new
-- epoch meanwhile. Otherwise nothing is written, and the instance starts anew with its journal. Every path sets the
-- counter: a script that only read would let WAIT count replicas that have nothing.
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function number() return tonumber(take()) end
local function key(name) return KEYS[1] .. name end
local function whole(value) return string.format('%.0f', value) end
local function count(name, by)
  if by ~= 0 then redis.call('HINCRBY', key('count'), name, whole(by)) end
end

local instance, confirmed, sent, epoch = take(), number(), take(), take()
if (redis.call('GET', key('epoch')) or '0') ~= epoch then
  return redis.error_reply('EPOCH another instance has begun a new epoch')
end
if tonumber(redis.call('HGET', key('beat'), instance) or '0') < confirmed then
  return redis.error_reply('ROLLBACK what was durable is not here any more')
end
redis.call('HSET', key('beat'), instance, sent)
redis.call('ZREMRANGEBYSCORE', key('owed:' .. instance), '-inf', whole(confirmed))
-- What this batch makes true is owed to the instance's journal until a later batch says that it is there.
local function owe(member) redis.call('ZADD', key('owed:' .. instance), sent, member) end

-- Statements, as commit and keep bring them. An error of the server in the middle of a script undoes nothing, and the
-- batch is tried again: so each thing is written with what makes it known last.
local function keep(statements)
  local fresh = 0
  for _, one in ipairs(statements) do
    local row = key('s:' .. one.sid)
    if redis.call('EXISTS', row) == 0 then
      if one.msg ~= '' then
        redis.call('ZADD', key('about:' .. one.msg), 'NX', redis.call('HINCRBY', key('count'), 'order', 1), one.sid)
      end
      owe('s' .. one.sid)
      redis.call('HSET', row, 'kind', one.kind, 'msg', one.msg, 'wire', one.wire, 'at', one.at)
      fresh = fresh + 1
    end
  end
  count('statements', fresh)
  return fresh
end
local function list(...)
  local rows = {}
  for row = 1, number() do
    local one = {}
    for _, name in ipairs({...}) do one[name] = take() end
    rows[row] = one
  end
  return rows
end
