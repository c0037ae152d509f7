-- Every change of records is this one step: compare, set, and keep the indexes in line with them.
-- All of the changes are made, or none.
-- KEYS, of each change: record, index, open, due, states, changes
-- ARGV, of each change: old, new, score, id, member, due_ms, when, old_status, new_status, limited,
-- limit
-- old and new are texts; '' stands for no record. due_ms '' closes the record.
-- when: 'now': it is due at due_ms, which is now; 'later': that is a time to come; 'kept': whoever
-- makes the change sees to the record, which stays due when it was.
-- limited: '' | 'index' | 'open': refuse a new record where that set holds `limit` already.
-- Reply: {'ok' | 'stale' | 'full', number of the change that was refused, from 0}
local KEYS_EACH, ARGS_EACH = 6, 11
local changes = #KEYS / KEYS_EACH
for at = 0, changes - 1 do
  local k, a = at * KEYS_EACH, at * ARGS_EACH
  local limited = ARGV[a + 10]
  if (redis.call('GET', KEYS[k + 1]) or '') ~= ARGV[a + 1] then return {'stale', at} end
  if limited ~= ''
      and redis.call('ZCARD', KEYS[k + (limited == 'index' and 2 or 3)]) >= tonumber(ARGV[a + 11]) then
    return {'full', at}
  end
end
for at = 0, changes - 1 do
  local record, index, open, due_set, states, stream = unpack(KEYS, at * KEYS_EACH + 1)
  local _, new, score, id, member, due, when, was, is = unpack(ARGV, at * ARGS_EACH + 1)
  if new == '' then
    redis.call('DEL', record)
    redis.call('ZREM', index, id)
  else
    redis.call('SET', record, new)
    redis.call('ZADD', index, score, id)
  end
  if new == '' or due == '' then
    redis.call('ZREM', open, id)
    redis.call('ZREM', due_set, member)
  else
    redis.call('ZADD', open, score, id)
    if when == 'kept' then
      redis.call('ZADD', due_set, 'NX', due, member)
    else
      redis.call('ZADD', due_set, due, member)
    end
  end
  if was ~= is then
    if was ~= '' then redis.call('HINCRBY', states, was, -1) end
    if is ~= '' then redis.call('HINCRBY', states, is, 1) end
  end
  if when == 'now' then  -- those who look at what is due need not wait
    redis.call('XADD', stream, 'MAXLEN', '~', 10000, '*', 'member', member, 'due', 1)
  else
    redis.call('XADD', stream, 'MAXLEN', '~', 10000, '*', 'member', member)
  end
end
return {'ok', 0}
