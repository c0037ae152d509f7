-- Every change of a record is this one step: compare, set, and keep the indexes in line with it.
-- KEYS: record, index, open, due, states, changes
-- ARGV: old, new, score, id, member, due_ms, old_status, new_status, limited, limit
-- old and new are texts; '' stands for no record. due_ms '' closes the record.
-- limited: '' | 'index' | 'open': refuse a new record where that set holds `limit` already.
-- Reply: 'ok' | 'stale' | 'full'
local old, new, score, id, member, due, was, is, limited, limit = unpack(ARGV)
if (redis.call('GET', KEYS[1]) or '') ~= old then return 'stale' end
if limited ~= '' and redis.call('ZCARD', KEYS[limited == 'index' and 2 or 3]) >= tonumber(limit) then
  return 'full'
end
if new == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], id)
else
  redis.call('SET', KEYS[1], new)
  redis.call('ZADD', KEYS[2], score, id)
end
if new == '' or due == '' then
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[4], member)
else
  redis.call('ZADD', KEYS[3], score, id)
  redis.call('ZADD', KEYS[4], due, member)
end
if was ~= is then
  if was ~= '' then redis.call('HINCRBY', KEYS[5], was, -1) end
  if is ~= '' then redis.call('HINCRBY', KEYS[5], is, 1) end
end
redis.call('XADD', KEYS[6], 'MAXLEN', '~', 10000, '*', 'member', member)
return 'ok'
