-- One step in the life of one message (relay.store.base.Change): judged whole, then written whole. Lua undoes nothing,
-- so nothing is written before everything was judged.
local again = take() == '1'
local msg, expected, state = take(), take(), take()
local envelope = take() == '1' and take() or nil
local drop, open, unpage, waiting_max = number(), number(), take() == '1', number()

local statements = list('sid', 'kind', 'msg', 'wire', 'at')
local entries = list('desk', 'kind', 'ref')
local arm = list('kind', 'subject', 'generation', 'due')
local disarm = list('kind')
local waiting = list('desk', 'step')
local pages = list('id', 'desk', 'handle', 'stage', 'kind', 'priority', 'mode', 'created', 'expires', 'state',
  'not_before', 'attempt', 'lease_until', 'result')
local blobs = list('id')

-- Judge

local there = redis.call('HMGET', key('m:' .. msg), 'version', 'arrival', 'open', 'drop')
local version = there[1] or '0'
if version ~= expected then
  -- The answer of an earlier try may have been lost on its way: the same state under the next version is our own.
  local ours = again and version == whole(tonumber(expected) + 1) and redis.call('HGET', key('m:' .. msg), 'state') == state
  return ours and {'committed', version} or {'conflict', version}
end
local before, after, order = {}, {}, {}
for _, one in ipairs(waiting) do
  local here = key('wait:' .. one.desk)
  if before[one.desk] == nil then
    before[one.desk] = redis.call('SISMEMBER', here, msg)
    order[#order + 1] = one.desk
  end
  after[one.desk] = one.step == '1' and 1 or 0
  local waits = redis.call('SCARD', here) + after[one.desk] - before[one.desk]
  if one.step == '1' and waiting_max > 0 and waits > waiting_max then return {'full', one.desk} end
end
for _, one in ipairs(blobs) do
  if redis.call('EXISTS', key('blob:' .. one.id)) == 0 then return {'missing', one.id} end
end
local coming = {}
for _, one in ipairs(statements) do coming[one.sid] = true end
for _, one in ipairs(entries) do
  if one.kind == 'statement' and not coming[one.ref] and redis.call('EXISTS', key('s:' .. one.ref)) == 0 then
    return {'unfounded'}
  end
end

-- Write

local arrival = there[2]
local sealed = (there[4] or '-') ~= '-'
local seals = envelope and not sealed
if not arrival then arrival = whole(redis.call('HINCRBY', key('count'), 'messages', 1)) end
if seals then
  redis.call('SET', key('e:' .. msg), envelope)
  count('envelopes', 1)
  for _, one in ipairs(blobs) do
    redis.call('ZADD', key('uses:' .. one.id), arrival, msg)
    redis.call('SADD', key('named:' .. msg), one.id)
    redis.call('ZREM', key('idle'), one.id)
  end
end
local kept_drop = sealed and there[4] or (seals and '0' or '-')
if drop > 0 and (seals or sealed) then
  kept_drop = whole(drop)
  redis.call('ZADD', key('drop'), kept_drop, string.format('%016s', arrival) .. msg)
end
local was_open = tonumber(there[3] or '0')
if open > 0 and was_open == 0 then
  redis.call('ZADD', key('open'), arrival, msg)
elseif open == 0 and was_open > 0 then
  redis.call('ZREM', key('open'), msg)
end
count('open', (open > 0 and 1 or 0) - (was_open > 0 and 1 or 0))
keep(statements)
local answer = {'committed', whole(tonumber(expected) + 1)}
local told = 0
for _, one in ipairs(entries) do
  if redis.call('SISMEMBER', key('known:' .. one.desk), one.ref) == 0 then
    local box, entry = key('box:' .. one.desk), (one.kind == 'message' and 'm' or 's') .. one.ref .. msg
    local seq = redis.call('ZSCORE', box, entry) or redis.call('ZCARD', box) + 1
    redis.call('ZADD', box, seq, entry)
    redis.call('SADD', key('known:' .. one.desk), one.ref)
    answer[#answer + 1] = whole(seq)
    told = told + 1
    redis.call('XADD', key('wake'), 'MAXLEN', '~', '10000', '*', 'by', instance, 'desk', one.desk, 'seq', whole(seq),
      'msg', msg)
  else
    answer[#answer + 1] = '0'
  end
end
count('entries', told)
if told == 0 then
  redis.call('XADD', key('wake'), 'MAXLEN', '~', '10000', '*', 'by', instance, 'desk', '', 'seq', '0', 'msg', msg)
end
for _, desk in ipairs(order) do
  if after[desk] ~= before[desk] then
    redis.call(after[desk] == 1 and 'SADD' or 'SREM', key('wait:' .. desk), msg)
    count('waiting', after[desk] - before[desk])
  end
end
local function drop_timer(kind, subject)
  redis.call('SREM', key('armed:' .. subject), kind)
  if redis.call('ZREM', key('due'), kind .. '|' .. subject) == 1 then count('timers_' .. kind, -1) end
end
for _, one in ipairs(disarm) do
  drop_timer(one.kind, msg)
  redis.call('HDEL', key('generation'), one.kind .. '|' .. msg)
end
for _, one in ipairs(arm) do
  drop_timer(one.kind, one.subject)
  redis.call('HSET', key('generation'), one.kind .. '|' .. one.subject, one.generation)
  redis.call('ZADD', key('due'), one.due, one.kind .. '|' .. one.subject)
  redis.call('SADD', key('armed:' .. one.subject), one.kind)
  count('timers_' .. one.kind, 1)
end
if unpage then
  local mine = {}  -- what an earlier try of this very change has put in is not taken back by it
  for _, one in ipairs(again and pages or {}) do mine[one.id] = true end
  for _, id in ipairs(redis.call('SMEMBERS', key('pages:' .. msg))) do
    local page = key('p:' .. id)
    if not mine[id] and redis.call('HGET', page, 'state') == 'ready' then
      redis.call('ZREM', key('ready' .. redis.call('HGET', page, 'rank')), id)
      redis.call('HSET', page, 'state', 'cancelled')
      count('pages_ready', -1)
      count('pages_cancelled', 1)
    end
  end
end
for _, one in ipairs(pages) do
  local page = key('p:' .. one.id)
  if redis.call('EXISTS', page) == 0 then
    local rank = one.priority == 'emergency' and '0' or one.priority == 'urgent' and '1' or '2'
    redis.call('SADD', key('pages:' .. msg), one.id)
    redis.call('ZADD', key('page_end'), one.expires, one.id)
    local row = {'HSET', page, 'msg', msg, 'rank', rank}
    for name, value in pairs(one) do
      row[#row + 1] = name
      row[#row + 1] = value
    end
    if one.state == 'ready' then
      redis.call('ZADD', key('ready' .. rank), one.not_before, one.id)
    elseif one.state == 'leased' then
      redis.call('ZADD', key('ready' .. rank), one.lease_until, one.id)
    end
    redis.call(unpack(row))
    count('pages_' .. one.state, 1)
  end
end
-- The row last: until it stands, whoever tries again begins anew.
owe(msg)
redis.call('HSET', key('m:' .. msg), 'version', whole(tonumber(expected) + 1), 'state', state, 'arrival', arrival,
  'open', whole(open), 'drop', kept_drop)
return answer
