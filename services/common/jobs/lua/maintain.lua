-- ARGV: lease_ms, history_ms, batch, base_ms, cap_ms, jitter
-- Reply: {jobs whose wait is over, jobs whose lease expired, jobs forgotten}
local lease_ms, history_ms, batch = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local function due(set, before)
  return redis.call('ZRANGEBYSCORE', P .. set, '-inf', before, 'LIMIT', 0, batch)
end

-- Nobody looked for a whole lease: Redis was down, or every worker was. Leases ran out meanwhile
-- through no fault of their holders, who get one lease to come back and renew.
local last = tonumber(redis.call('HGET', P .. 'maintenance', 'at') or now)
redis.call('HSET', P .. 'maintenance', 'at', now)
if now - last > lease_ms then
  redis.call('HSET', P .. 'maintenance', 'grace_until_ms', now + lease_ms)
end

local ready = due('state:waiting', now)
for _, id in ipairs(ready) do
  make_ready(id)
  emit(id)
end

local expired = {}
if now >= tonumber(redis.call('HGET', P .. 'maintenance', 'grace_until_ms') or 0) then
  expired = due('state:running', now)
end
for _, id in ipairs(expired) do
  local worker = get(id, 'worker')
  count('lost')
  if get(id, 'cancel') == '1' then
    end_attempt(id, 'cancelled', 'CANCELLED', 'cancelled on request')
    blame(id, 'CANCELLED', 'cancelled on request', '')
    conclude(id, 'cancelled')
  else
    local message = 'worker ' .. worker .. ' was not heard of for the length of its lease'
    end_attempt(id, 'lost', 'WORKER_LOST', message)
    blame(id, 'WORKER_LOST', message, 'Look for the worker in the logs: killed, out of memory or cut off.')
    retry_or_die(id, unpack(ARGV, 4, 6))
  end
  emit(id)
end

local forgotten = 0
for state in pairs(TERMINAL) do
  for _, id in ipairs(due('state:' .. state, now - history_ms)) do
    -- What its attempts left behind must be swept while the record still says what to keep.
    if not redis.call('ZSCORE', P .. 'sweep', id) then
      forget(id)
      forgotten = forgotten + 1
    end
  end
end
return {#ready, #expired, forgotten}
